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
  type Framed,
  PIECE_HEADER,
  type Piece,
  type Receipt,
} from "../peers/frames.ts";
import { getBucket } from "../store/buckets.ts";
import { isVersionId } from "../store/clock.ts";
import { hasReplica, mergeReplicas, type Replica } from "../store/objects.ts";
import { gatherPieces, openReplicaUpload, putPart } from "../store/uploads.ts";
import type { Checksum, Version } from "../store/versions.ts";
import { readDocument, takeBody } from "./body.ts";
import type { Context } from "./context.ts";
import { operation } from "./operation.ts";

/** One entry may list 10,000 pieces of some 120 bytes. */
const MAX_BYTES = 4 * BATCH_BYTES;

/** Brings one piece of a large body. */
export const ReplicatePiece = operation(
  `POST /:bucket?replicate|${PIECE_HEADER}`,
  "put-object",
  async (ctx) => {
    const { sourceBucketId } = claimsOf(ctx);
    const { key, versionId, ...piece } = decodePieceHeader(ctx.headers.get(PIECE_HEADER)!);
    ctx.authorize("put-object", { bucket: ctx.bucket, key });
    const upload = await openReplicaUpload(ctx.env, ctx.entry, key, { sourceBucketId, versionId });
    const body = { ...takeBody(ctx.request, ctx.caller!.payload), md5: piece.md5 };
    await putPart(ctx.env, upload, piece.partNumber, body, piece);
    return Response.json({});
  },
  { authorizes: "each key" },
);

/** Brings a batch of versions. An empty one asks whether the bucket would take any. */
export const ReplicateVersions = operation(
  "POST /:bucket?replicate",
  "put-object",
  async (ctx) => {
    const claims = claimsOf(ctx);
    const { bucketId } = ctx.entry;
    const frames = decodeFrames(await readDocument(ctx.request, ctx.caller!.payload, { maxBytes: MAX_BYTES }));
    const { versioning, revision } = await getBucket(ctx.env, bucketId);
    const receipts = await receive(ctx, claims, frames);
    return Response.json({ bucket: { versioning, revision }, receipts } satisfies BatchAnswer);
  },
  { authorizes: "each key" },
);

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

function stored({ versionId, size, etag }: Version): Receipt {
  return { stored: { versionId, size, etag } };
}

function refuse(error: unknown): Receipt {
  if (!isS3Error(error)) throw error;
  return { error: { code: error.code, message: error.message } };
}

/** The version as it is to be merged, or why it can't be yet. */
async function prepare(ctx: Context, claims: Claims, { entry, inline }: Framed, i: number): Promise<Replica | Receipt> {
  const parameters = { bucket: ctx.bucket, key: entry.key };
  ctx.authorize("put-object", parameters);
  if (Object.keys(entry.tags).length > 0) ctx.authorize("put-object-tagging", parameters);
  if (!isVersionId(entry.versionId)) throw new S3Error("InvalidArgument", "Invalid version id specified");
  const version: Version = {
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
  };
  if (entry.isDeleteMarker) return { version };
  return entry.pieces
    ? await gather(ctx, claims, version, entry.pieces)
    : { version, inline: takeInline(version, inline) };
}

/** The ETag of an inline body is its MD5: what was damaged on the way isn't taken in. */
function takeInline({ size, etag }: Version, inline: Uint8Array): string {
  if (inline.length !== size) throw new S3Error("IncompleteBody");
  if (createHash("md5").update(inline).digest("hex") !== etag) throw new S3Error("BadDigest");
  return Buffer.from(inline).toString("base64");
}

/** A large version is merged once all its pieces are here, just as they were named. */
async function gather(ctx: Context, claims: Claims, version: Version, pieces: Piece[]): Promise<Replica | Receipt> {
  if (await hasReplica(ctx.env, version)) return stored(version);
  const name = { sourceBucketId: claims.sourceBucketId, versionId: version.versionId };
  const upload = await openReplicaUpload(ctx.env, ctx.entry, version.key, name);
  const { missing, completion } = await gatherPieces(ctx.env, upload, pieces);
  if (missing.length > 0) return { missing };
  if (pieces.reduce((sum, piece) => sum + piece.size, 0) !== version.size) throw new S3Error("IncompleteBody");
  return { version, completion };
}
