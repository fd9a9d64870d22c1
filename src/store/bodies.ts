/**
 * Bodies: inline in INDEX up to INLINE_MAX_BYTES, above that one or more segments in R2.
 *
 * An R2 key is made once and never used again: R2 takes one write a second on one key, and a reader may still stream
 * the old body. R2 verifies SHA-256 or MD5 itself (one of them a put) and always tells the MD5, so the bytes of a plain
 * PUT never pass through JavaScript, which would cap them at some 200 MiB/s.
 */
import { hash, randomBytes } from "node:crypto";
import { S3Error } from "../errors.ts";
import type { Checksum } from "./versions.ts";

/** Bodies up to this many bytes stand in INDEX beside their version. */
export const INLINE_MAX_BYTES = 8 * 1024;

/** A body on its way in. The door has taken off aws-chunked framing, and checks what only it can (chunk signatures, trailers, CRCs). */
export interface Body {
  /** bytes; known before the first one is read */
  size: number;
  /** Errors (never ends early) if what it carries is not what was promised. */
  stream: ReadableStream<Uint8Array>;
  /** the bytes at once, in the place of the stream: of a small body, where a stream costs more than what it carries */
  whole?: () => Promise<Uint8Array>;
  /** lower-case hex; verified here */
  sha256?: string;
  md5?: string;
  /** what it means if `sha256` isn't that of the bytes; XAmzContentSHA256Mismatch by default */
  sha256Mismatch?: S3Error;
  /** the checksum to be stored; called after the stream has ended */
  checksum?: () => Checksum | null;
  /** why the door errored the stream, if it did */
  failure?: () => S3Error | undefined;
}

/** A piece of a body in R2. */
export interface Segment {
  partNumber: number;
  /** bytes from the start of the object */
  offset: number;
  size: number;
  /** lower-case hex */
  md5: string;
  /** base64 checksum of its part */
  checksum: string | null;
  r2Key: string;
}

export interface StoredBody {
  /** lower-case hex MD5 */
  md5: string;
  checksum: Checksum | null;
  /** exactly one of these */
  inline?: Uint8Array;
  r2Key?: string;
}

export interface Range {
  offset: number;
  length: number;
}

type BlobsEnv = Pick<Env, "BLOBS">;
type IndexEnv = Pick<Env, "INDEX">;

/** Stores a body where its size says. Throws BadDigest, XAmzContentSHA256Mismatch, IncompleteBody, or what the door says; then nothing is stored. */
export async function storeBody(env: BlobsEnv, owner: BlobOwner, body: Body): Promise<StoredBody> {
  return body.size <= INLINE_MAX_BYTES ? await takeInline(body) : await storeSegment(env, owner, body);
}

async function takeInline(body: Body): Promise<StoredBody> {
  const bytes = await collect(body);
  const md5 = hash("md5", bytes);
  if (body.sha256 && hash("sha256", bytes) !== body.sha256) {
    throw sha256Mismatch(body);
  }
  if (body.md5 && md5 !== body.md5) throw new S3Error("BadDigest");
  return { md5, checksum: body.checksum?.() ?? null, inline: bytes };
}

function sha256Mismatch(body: Body): S3Error {
  return body.sha256Mismatch ?? new S3Error("XAmzContentSHA256Mismatch");
}

async function collect(body: Body): Promise<Uint8Array> {
  // Native: `for await` over the stream took a twentieth of a small PUT.
  const whole = body.whole ?? (async () => new Uint8Array(await new Response(body.stream).arrayBuffer()));
  const bytes = await whole().catch((error) => {
    throw body.failure?.() ?? (error instanceof S3Error ? error : new S3Error("IncompleteBody"));
  });
  if (bytes.length !== body.size) throw new S3Error("IncompleteBody");
  return bytes;
}

/** What a blob is for: stands in its customMetadata, so that the scrub can tell whether anything names it. */
export interface BlobOwner {
  bucketId: number;
  key: string;
  /** of a part */
  uploadId?: string;
}

/** Streams a body to R2 under a fresh key. Throws like storeBody. */
export async function storeSegment(
  env: BlobsEnv,
  owner: BlobOwner,
  body: Body,
): Promise<StoredBody & { r2Key: string }> {
  const r2Key = `${owner.bucketId}/${randomBytes(16).toString("hex")}`;
  const customMetadata = {
    bucket: String(owner.bucketId),
    key: encodeURIComponent(owner.key),
    ...(owner.uploadId && { upload: owner.uploadId }),
  };
  // R2 verifies one digest a put; the other is compared with what it tells.
  const digest = body.sha256 ? { sha256: body.sha256 } : body.md5 ? { md5: body.md5 } : {};
  let stored: R2Object;
  try {
    // R2 never reads a FixedLengthStream of no bytes, so what stands behind it would go unverified.
    const bytes = body.whole || body.size === 0 ? await collect(body) : body.stream;
    stored = await env.BLOBS.put(r2Key, bytes, { ...digest, customMetadata });
  } catch (error) {
    throw body.failure?.() ?? putFailure(error, body);
  }
  const md5 = Buffer.from(stored.checksums.md5!).toString("hex");
  if (body.md5 && md5 !== body.md5) {
    await dropBody(env, r2Key);
    throw new S3Error("BadDigest");
  }
  return { md5, checksum: body.checksum?.() ?? null, r2Key };
}

/** Removes a body that no row names. One that can't be removed now is left to the scrub: the answer stays what it is. */
export async function dropBody(env: BlobsEnv, r2Key: string): Promise<void> {
  await env.BLOBS.delete(r2Key).catch(() => undefined);
}

function putFailure(error: unknown, body: Body): unknown {
  const message = String(error);
  // 10037: the checksum that was handed to R2 isn't that of the bytes.
  if (message.includes("10037")) return body.sha256 ? sha256Mismatch(body) : new S3Error("BadDigest");
  // A client that goes away, or sends fewer bytes than it said, breaks the stream under R2. R2's own failures have a number.
  if (/FixedLengthStream|Network connection lost|disconnected|premature|other side/i.test(message)) {
    return new S3Error("IncompleteBody");
  }
  return error;
}

/** Bytes of an inline body. */
export function readInline(base64: string, range?: Range): Uint8Array {
  const bytes = Buffer.from(base64, "base64");
  return range ? bytes.subarray(range.offset, range.offset + range.length) : bytes;
}

/**
 * Streams a range of segments, opening each only when it is reached. A single segment comes straight from R2, with no
 * JavaScript in the way. Segments must be those that the range touches, in order.
 */
export async function readSegments(
  env: BlobsEnv,
  segments: Segment[],
  range: Range,
): Promise<ReadableStream<Uint8Array>> {
  const extents = segments.map((segment) => clip(segment, range));
  if (extents.length === 1) return await openExtent(env, extents[0]!);
  const { readable, writable } = new FixedLengthStream(range.length);
  void pump(env, extents, writable);
  return readable;
}

interface Extent {
  r2Key: string;
  range: Range;
  isWhole: boolean;
}

function clip(segment: Segment, range: Range): Extent {
  const start = Math.max(range.offset - segment.offset, 0);
  const end = Math.min(range.offset + range.length - segment.offset, segment.size);
  return { r2Key: segment.r2Key, range: { offset: start, length: end - start }, isWhole: end - start === segment.size };
}

async function openExtent(env: BlobsEnv, { r2Key, range, isWhole }: Extent): Promise<ReadableStream<Uint8Array>> {
  // R2 takes no range of a body without bytes.
  if (range.length === 0) return new Response(new Uint8Array()).body!;
  const object = await env.BLOBS.get(r2Key, isWhole ? undefined : { range });
  if (!object) throw new BodyLostError(`segment ${r2Key} is not in BLOBS`);
  return object.body;
}

/** A version's row is there, its body is gone: nobody's mistake but ours. */
export class BodyLostError extends Error {
  override readonly name = "BodyLostError";
}

/** An extent that fails breaks the stream: the client sees fewer bytes than Content-Length, never wrong ones. */
async function pump(env: BlobsEnv, extents: Extent[], writable: WritableStream<Uint8Array>): Promise<void> {
  try {
    for (const extent of extents) {
      const body = await openExtent(env, extent);
      await body.pipeTo(writable, { preventClose: true });
    }
    await writable.close();
  } catch (error) {
    await writable.abort(error).catch(() => {});
  }
}

interface SegmentRow {
  part_number: number;
  offset: number;
  size: number;
  md5: string;
  checksum: string | null;
  r2_key: string;
}

/** Segments of a version that a range touches (all without one), in order. */
export async function listSegments(
  env: IndexEnv,
  version: { bucketId: number; key: string; versionId: string },
  range: Range = { offset: 0, length: Number.MAX_SAFE_INTEGER },
): Promise<Segment[]> {
  const { results } = await env.INDEX.prepare(
    `SELECT part_number, offset, size, md5, checksum, r2_key FROM segments
     WHERE bucket_id = ?1 AND key = ?2 AND version_id = ?3 AND offset < ?5 AND offset + size > ?4 ORDER BY offset`,
  )
    .bind(version.bucketId, version.key, version.versionId, range.offset, range.offset + range.length)
    .all<SegmentRow>();
  return results.map((row) => ({
    partNumber: row.part_number,
    offset: row.offset,
    size: row.size,
    md5: row.md5,
    checksum: row.checksum,
    r2Key: row.r2_key,
  }));
}
