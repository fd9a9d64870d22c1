/**
 * What an operation came to, written down once it is answered: a line in the log, and the counters of /metrics.
 *
 * The line's id is the one that the client saw. For a request that another zone answered it is that zone's, so both
 * lines are found by it; only the zone that answered counts it.
 */
import { logOperation } from "../log.ts";
import { tripsOf } from "../trips.ts";
import type { Context } from "./context.ts";
import { count } from "./counters.ts";

const WRITES = ["PUT", "POST"];

export function record(ctx: Context, response: Response): void {
  const { env, operation, errorCode: code, located, forwardedTo } = ctx;
  const ms = Date.now() - ctx.startedAt;
  const trips = tripsOf(env);
  const received = bytesOfRequest(ctx);
  const sent = bytesOfAnswer(ctx, response);
  // A request without a valid signature belongs to whom its bucket belongs.
  const organization = ctx.caller?.identity.organization.id ?? located?.organizationId;
  if (organization !== undefined && forwardedTo === undefined) {
    count(organization, { operation, code, received, sent, ms, trips });
  }
  const line = {
    id: response.headers.get("x-amz-request-id")!,
    operation,
    bucket: located?.bucketId,
    status: response.status,
    code,
    bytes: WRITES.includes(ctx.method) ? received : sent,
    ms,
    trips,
    organization,
    accessKeyId: ctx.caller?.identity.accessKeyId,
    isForwarded: ctx.arrival.isForwarded || undefined,
    forwardedTo,
  } as const;
  logOperation(env, line, () => ctx.names);
}

/** Of the object itself, where it comes framed. What a client says, so nothing of a request that was refused. */
function bytesOfRequest({ method, caller, errorCode, request: { headers } }: Context): number {
  if (!WRITES.includes(method) || !caller || errorCode !== undefined) return 0;
  return toBytes(headers.get("x-amz-decoded-content-length") ?? headers.get("content-length"));
}

/** A HEAD's Content-Length is that of the body it doesn't send. */
function bytesOfAnswer({ method }: Context, { headers }: Response): number {
  return method === "HEAD" ? 0 : toBytes(headers.get("content-length"));
}

function toBytes(length: string | null): number {
  return length !== null && /^\d{1,15}$/.test(length) ? Number(length) : 0;
}
