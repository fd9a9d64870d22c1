/**
 * The log: one line of JSON for each operation, drain and sweep, and for each error that isn't the client's.
 *
 * A line tells buckets by number and never names a key, a query or a header: those are the users' own, and a presigned
 * URL is a secret. `LOG_KEYS=1` adds names and keys, for the time that somebody looks for something. Ids of organizations
 * and access keys stand in it, since they say who did it and open nothing without a secret. `LOG=off` leaves out all but
 * errors.
 *
 * `ms` is by the wall clock. In production that stands still while code runs and moves on only at I/O, so CPU time behind
 * an operation's last trip isn't in it. The end of a body that is streamed isn't waited for either.
 */
import { requestIdOf } from "./trips.ts";

/** What an operation at the S3 door came to. */
export interface OperationLine {
  /** x-amz-request-id of the answer */
  id: string;
  /** S3's name; undefined for what matched none, or failed before */
  operation: string | undefined;
  /** bucket_id */
  bucket: number | undefined;
  /** HTTP */
  status: number;
  /** S3's, of an error that this zone answered */
  code: string | undefined;
  /** of the request's body for a write, of the answer's for a read */
  bytes: number;
  ms: number;
  /** calls over bindings */
  trips: number;
  organization: string | undefined;
  accessKeyId: string | undefined;
  /** another zone passed the request on */
  isForwarded: true | undefined;
  /** the zone that answered, whose line has the same id */
  forwardedTo: string | undefined;
}

/** Optional text bindings. */
interface LogEnv {
  ZONE?: string;
  LOG?: string;
  LOG_KEYS?: string;
}

/** `names`, of bucket and key, are told only if LOG_KEYS asks for them. */
export function logOperation(
  env: object,
  line: OperationLine,
  names: () => { name: string | undefined; key: string | undefined },
): void {
  if (!isOn(env)) return;
  write(env, (env as LogEnv).LOG_KEYS === "1" ? { ...line, ...names() } : line);
}

/** What went on without a request: `replication`, `sweep`. */
export function logEvent(env: object, event: string, fields: object): void {
  if (isOn(env)) write(env, { event, ...fields });
}

/**
 * What somebody who runs the zone should know, with its stack; `message` says what it happened to. The id is that of the
 * request, where `env` belongs to one. Whoever calls this still throws or answers: nothing is settled by a line.
 */
export function logError(env: object, message: string, error: unknown, fields: object = {}): void {
  const { ZONE: zone } = env as LogEnv;
  const cause = error instanceof Error && error.cause !== undefined ? { cause: describe(error.cause) } : {};
  const line = { id: requestIdOf(env), ...fields, message, error: describe(error), ...cause };
  console.error(JSON.stringify({ time: new Date().toISOString(), zone, level: "error", ...line }));
}

function isOn(env: object): boolean {
  return (env as LogEnv).LOG !== "off";
}

function write(env: object, line: object): void {
  console.log(JSON.stringify({ time: new Date().toISOString(), zone: (env as LogEnv).ZONE, ...line }));
}

function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? String(error)) : String(error);
}
