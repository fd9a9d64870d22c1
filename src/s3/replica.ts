/**
 * Replicas on their way in: `POST /BUCKET?replicate`, which only a replication session may call.
 *
 * Its sealed claims name source and destination bucket by number, and the name must lead to that very bucket: one that
 * was removed and created again receives nothing of what was meant for the former. Each entry is authorised and
 * answered by itself; a delete marker is authorised as put-object, like any other version.
 */
import { createHash } from "node:crypto";
import { isS3Error, S3Error } from "../errors.ts";
import type { Identity } from "../iam/identity.ts";
import {
  BATCH_BYTES,
  type BatchAnswer,
  decodeFrames,
  decodePieceHeader,
  type Entry,
  type Framed,
  PIECE_HEADER,
  type Piece,
  type PieceHeader,
  type Receipt,
} from "../peers/frames.ts";
import { gatherPieces, openReplicaUpload } from "../store/arrivals.ts";
import { getBucket } from "../store/buckets.ts";
import { isVersionId } from "../store/clock.ts";
import { hasReplica, mergeReplicas, type Replica } from "../store/objects.ts";
import { putPart } from "../store/uploads.ts";
import type { Checksum, Version } from "../store/versions.ts";
import { readDocument, takeBody } from "./body.ts";
import type { Context } from "./context.ts";
import { operation } from "./operation.ts";

/** One entry may list 10,000 pieces of some 120 bytes. */
const MAX_BYTES = 4 * BATCH_BYTES;

/** Brings one piece of a large body; with it, of a body of one piece, the version. What is refused stands in a receipt. */
export const ReplicatePiece = operation(
  `POST /:bucket?replicate|${PIECE_HEADER}`,
  "put-object",
  async (ctx) => {
    const claims = claimsOf(ctx);
    const header = decodePieceHeader(ctx.headers.get(PIECE_HEADER)!);
    return await answer(ctx, () => takePiece(ctx, claims, header).catch((error) => [refuse(error)]));
  },
  { authorizes: "in handler" },
);

async function takePiece(ctx: Context, claims: Claims, header: PieceHeader): Promise<Receipt[]> {
  const { key, versionId, entry, ...piece } = header;
  ctx.authorize("put-object", { bucket: ctx.bucket, key });
  if (entry && (await hasReplica(ctx.env, versionOf(ctx, claims, entry)))) {
    await ctx.request.body?.cancel();
  } else {
    const upload = await openReplicaUpload(ctx.env, ctx.entry, key, { ...claims, versionId });
    const body = Object.assign(takeBody(ctx.request, ctx.payload), { md5: piece.md5 });
    await putPart(ctx.env, upload, piece.partNumber, body, piece);
  }
  return entry ? await receive(ctx, claims, [{ entry, inline: new Uint8Array() }]) : [];
}

/** Brings a batch of versions. An empty one asks whether the bucket would take any. */
export const ReplicateVersions = operation(
  "POST /:bucket?replicate",
  "put-object",
  async (ctx) => {
    const claims = claimsOf(ctx);
    const bytes = await readDocument(ctx.request, ctx.payload, { maxBytes: MAX_BYTES });
    return await answer(ctx, () => receive(ctx, claims, decodeFrames(bytes)));
  },
  { authorizes: "in handler" },
);

/**
 * The bucket is looked at first: what is refused rests on this revision or a later one. Told a later one than it rests
 * on, the source would wait for a change that has come already.
 */
async function answer(ctx: Context, work: () => Promise<Receipt[]>): Promise<Response> {
  const { versioning, revision } = await getBucket(ctx.env, ctx.entry.bucketId);
  const receipts = await work();
  const role = { revision: ctx.identity.role.revision };
  return Response.json({ bucket: { versioning, revision }, role, receipts } satisfies BatchAnswer);
}

type Claims = NonNullable<Identity["replication"]>;

/** Throws AccessDenied for any other caller; NoSuchBucket if the name stands for another bucket than was sealed. */
function claimsOf(ctx: Context): Claims {
  const claims = ctx.identity.replication;
  if (!claims) throw new S3Error("AccessDenied");
  if (ctx.entry.bucketId !== claims.destinationBucketId) throw new S3Error("NoSuchBucket");
  return claims;
}

/** A receipt for each frame. What can be taken in is committed together. */
async function receive(ctx: Context, claims: Claims, frames: Framed[]): Promise<Receipt[]> {
  const prepared = await Promise.all(frames.map((frame, i) => prepare(ctx, claims, frame, i).catch(refuse)));
  const replicas = prepared.filter((item): item is Replica => "version" in item);
  const merged = await mergeReplicas(ctx.env, ctx.entry, replicas);
  const results = new Map(replicas.map((replica, i) => [replica, merged[i]!]));
  return prepared.map((item) => {
    if (!("version" in item)) return item;
    const result = results.get(item)!;
    return result instanceof S3Error ? refuse(result) : stored(result);
  });
}

function stored({ versionId, size, etag, tagsChange }: Version): Receipt {
  return { stored: { versionId, size, etag, tagsChange: tagsChange ?? undefined } };
}

function refuse(error: unknown): Receipt {
  if (!isS3Error(error)) throw error;
  return { error: { code: error.code, message: error.message } };
}

/** The version as it is to be merged, or why it can't be yet. */
async function prepare(ctx: Context, claims: Claims, { entry, inline }: Framed, i: number): Promise<Replica | Receipt> {
  const parameters = { bucket: ctx.bucket, key: entry.key };
  ctx.authorize("put-object", parameters);
  if (Object.keys(entry.tags).length > 0 || entry.tagsChange) ctx.authorize("put-object-tagging", parameters);
  const version = versionOf(ctx, claims, entry, i);
  if (entry.isDeleteMarker) return { version };
  if (entry.pieces) return await gather(ctx, claims, version, entry.pieces);
  return { version, inline: takeInline(version, inline) };
}

/** Throws InvalidArgument for what can be no version id. */
function versionOf(ctx: Context, claims: Claims, entry: Entry, i = 0): Version {
  const ids = [entry.versionId, entry.tagsChange ?? entry.versionId];
  if (!ids.every(isVersionId)) throw new S3Error("InvalidArgument", "Invalid version id specified");
  return {
    bucketId: ctx.entry.bucketId,
    key: entry.key,
    versionId: entry.versionId,
    isNull: false,
    isDeleteMarker: entry.isDeleteMarker,
    size: entry.size,
    etag: entry.etag,
    storage: entry.isDeleteMarker ? "none" : entry.pieces ? "segments" : "inline",
    headers: entry.headers,
    metadata: entry.metadata,
    tags: entry.tags,
    checksum: entry.checksum as Checksum | null,
    bound: [],
    source: claims.sourceBucketId,
    receivedAt: Date.now(),
    requestId: `${ctx.requestId}-${i}`,
    tagsChange: entry.tagsChange ?? null,
    tagsRequests: [],
  };
}

/** The ETag of an inline body is its MD5: what was damaged on the way isn't taken in. */
function takeInline({ size, etag }: Version, inline: Uint8Array): string {
  if (inline.length !== size) throw new S3Error("IncompleteBody");
  if (createHash("md5").update(inline).digest("hex") !== etag) throw new S3Error("BadDigest");
  return Buffer.from(inline).toString("base64");
}

/** A large version is merged once all its pieces are here, just as they were named. */
async function gather(ctx: Context, claims: Claims, version: Version, pieces: Piece[]): Promise<Replica | Receipt> {
  if (await hasReplica(ctx.env, version)) return version.tagsChange ? { version, isThere: true } : stored(version);
  const name = { sourceBucketId: claims.sourceBucketId, versionId: version.versionId };
  const upload = await openReplicaUpload(ctx.env, ctx.entry, version.key, name);
  const { missing, completion } = await gatherPieces(ctx.env, upload, pieces);
  if (missing.length > 0) return { missing };
  if (pieces.reduce((sum, piece) => sum + piece.size, 0) !== version.size) throw new S3Error("IncompleteBody");
  return { version, completion };
}
