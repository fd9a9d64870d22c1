/**
 * One zone as a client of another: sends a signed request to its S3 door, by service binding where there is one (no
 * egress, no cap on the request's body), else by HTTPS.
 *
 * What surprised us: a Request that is handed to a binding folds `..` in its URL, so the raw target goes beside it; and
 * there is no way to take a call over a binding back, so a zone that hangs is left alone after a time.
 */
import { createHash } from "node:crypto";
import { AwsV4Signer } from "aws4fetch";
import { S3Error } from "../errors.ts";
import { peer, type Zone } from "../zones.ts";
import { type BatchAnswer, encodePieceHeader, PIECE_HEADER, type PieceHeader } from "./frames.ts";

/** A session's credentials. */
export interface Credentials {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken: string;
}

export interface ZoneRequest {
  method: string;
  /** as it is signed and seen: percent-encoded, dots and slashes not folded */
  path: string;
  /** percent-encoded and sorted, without `?` */
  query?: string;
  headers?: Record<string, string>;
  body?: Uint8Array | { stream: ReadableStream<Uint8Array>; size: number };
  /** the client's address, where the request is made for one */
  sourceIp?: string;
  /** milliseconds in place of PATIENCE_MS */
  patience?: number;
}

type ZonesEnv = Pick<Env, "ZONES">;

/** Bodies of unknown digest are sent unsigned: what matters of them stands in signed headers. */
const UNSIGNED = "UNSIGNED-PAYLOAD";
/** Milliseconds that a zone has for an answer, to which a body adds its time at 1 MiB/s. */
const PATIENCE_MS = 10_000;
/** The probe asks for a row of one table. */
const PROBE_PATIENCE_MS = 2000;

/**
 * The zone's answer, whatever its status. Throws ServiceUnavailable if there is none: the zone can't be reached, or took
 * too long.
 */
export async function send(
  env: ZonesEnv,
  zone: Zone,
  credentials: Credentials,
  { method, path, query = "", headers = {}, body, sourceIp = "", patience = PATIENCE_MS }: ZoneRequest,
): Promise<Response> {
  const isStream = body !== undefined && "stream" in body;
  const size = body === undefined ? 0 : isStream ? body.size : body.length;
  const digest = isStream
    ? UNSIGNED
    : createHash("sha256")
        .update(body ?? "")
        .digest("hex");
  const signer = new AwsV4Signer({
    ...credentials,
    method,
    url: zone.endpoint,
    headers: { ...headers, "x-amz-content-sha256": digest },
    service: "s3",
    region: zone.name,
  });
  // Set after the constructor, which would take them from a URL that folds dots.
  signer.encodedPath = path;
  signer.encodedSearch = query;
  const signed = await signer.sign();
  const target = query ? `${path}?${query}` : path;
  signed.headers.set("host", signer.url.host);
  const request = new Request(zone.endpoint + target, {
    method,
    headers: signed.headers,
    body: isStream ? body.stream : body,
  });
  return await reach(env, zone, request, { target, sourceIp, patience: patience + size / 1048.576 });
}

async function reach(
  env: ZonesEnv,
  zone: Zone,
  request: Request,
  { target, sourceIp, patience }: { target: string; sourceIp: string; patience: number },
): Promise<Response> {
  const binding = peer(env, zone);
  const answer = binding ? binding.serve(request, target, sourceIp) : fetch(request);
  try {
    return await within(patience, answer);
  } catch (error) {
    throw new S3Error("ServiceUnavailable", `The zone ${zone.name} can't be reached: ${(error as Error).message}`);
  }
}

/** What comes within so many milliseconds. What doesn't goes on alone: a call over a binding can't be taken back. */
async function within<T>(milliseconds: number, promise: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const tooLong = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${Math.round(milliseconds)} ms`)), milliseconds);
  });
  try {
    return await Promise.race([promise, tooLong]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Sends a batch of frames to a destination bucket; an empty one is the probe. Throws RefusedError for what the
 * destination refuses, ServiceUnavailable where there is no answer.
 */
export async function sendBatch(
  env: ZonesEnv,
  zone: Zone,
  credentials: Credentials,
  bucket: string,
  frames: Uint8Array[],
): Promise<BatchAnswer> {
  const body = Buffer.concat(frames);
  const patience = frames.length > 0 ? PATIENCE_MS : PROBE_PATIENCE_MS;
  const request = { method: "POST", path: `/${bucket}`, query: "replicate=", body, patience };
  return await readAnswer(zone, await send(env, zone, credentials, request), frames.length);
}

/**
 * Sends one piece of a large body. Gives an answer like that of a batch if the piece brought its version with it, nothing
 * to be believed otherwise. Throws as sendBatch does.
 */
export async function sendPiece(
  env: ZonesEnv,
  zone: Zone,
  credentials: Credentials,
  bucket: string,
  header: PieceHeader,
  stream: ReadableStream<Uint8Array>,
): Promise<BatchAnswer> {
  const headers = { [PIECE_HEADER]: encodePieceHeader(header), "content-length": String(header.size) };
  const body = { stream, size: header.size };
  const request = { method: "POST", path: `/${bucket}`, query: "replicate=", headers, body };
  return await readAnswer(zone, await send(env, zone, credentials, request), header.entry ? 1 : 0, 1);
}

/** What a zone said no with. Its code may be one that this zone doesn't know yet. */
export class RefusedError extends Error {
  override readonly name = "RefusedError";
  readonly code: string;
  readonly status: number;

  constructor(code: string, status: number, message: string) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

/** Headers that came are no promise of a body, nor is 200 one of an answer of ours: it must have `least` receipts. */
async function readAnswer(zone: Zone, answer: Response, least: number, most = least): Promise<BatchAnswer> {
  const text = await within(PATIENCE_MS, answer.text()).catch((error: Error) => {
    throw new S3Error("ServiceUnavailable", `The zone ${zone.name} broke off its answer: ${error.message}`);
  });
  if (!answer.ok) {
    const [, code = "InternalError"] = /<Code>([^<]*)<\/Code>/.exec(text) ?? [];
    const [, message = ""] = /<Message>([^<]*)<\/Message>/.exec(text) ?? [];
    throw new RefusedError(code, answer.status, `${code}: ${message}`);
  }
  const parsed = parse(text);
  if (isAnswer(parsed) && parsed.receipts.length >= least && parsed.receipts.length <= most) return parsed;
  throw new S3Error("ServiceUnavailable", `The zone ${zone.name} answered with something else than receipts.`);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isAnswer(value: unknown): value is BatchAnswer {
  const { bucket, role, receipts } = (value ?? {}) as Partial<BatchAnswer>;
  const isObject = (part: unknown) => typeof part === "object" && part !== null;
  const isReceipt = (receipt: Record<string, unknown> | null) =>
    ["stored", "missing", "error"].some((kind) => isObject(receipt?.[kind]));
  return isObject(bucket) && isObject(role) && Array.isArray(receipts) && receipts.every(isReceipt);
}
