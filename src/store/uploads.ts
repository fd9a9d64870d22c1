/**
 * Multipart uploads. A part is a segment, so completing moves no bytes: one commit names its exact part rows and closes
 * the upload. R2's own multipart isn't used, because it refuses parts of unequal size, which S3 clients send.
 */
import { createHash, randomBytes, randomUUID } from "node:crypto";
import { S3Error } from "../errors.ts";
import { type Body, dropBody, storeSegment } from "./bodies.ts";
import { getBucket } from "./buckets.ts";
import type { Completion, Draft, WriteConditions } from "./decide.ts";
import { boundsOf, commonPrefixOf, type ListPage, type ListQuery } from "./listing.ts";
import { type Place, type Written, written } from "./objects.ts";
import { commitOne } from "./slots.ts";
import { type Checksum, type ChecksumAlgorithm, type Description, readVersions } from "./versions.ts";

export interface Upload extends Description {
  bucketId: number;
  key: string;
  uploadId: string;
  /** milliseconds */
  initiatedAt: number;
  state: "open" | "replica" | "completed" | "aborted";
  checksumAlgorithm: ChecksumAlgorithm | null;
  checksumType: Checksum["type"] | null;
  /** of a completed upload */
  versionId: string | null;
  partsDigest: string | null;
}

export interface Part {
  partNumber: number;
  size: number;
  /** lower-case hex MD5 */
  etag: string;
  /** base64, of the upload's algorithm */
  checksum: string | null;
  /** milliseconds */
  uploadedAt: number;
}

/** All parts but the last one are at least this large. https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html */
const MIN_PART_BYTES = 5 * 1024 * 1024;
const MAX_OBJECT_BYTES = 5 * 1024 ** 4;

interface UploadRow {
  bucket_id: number;
  key: string;
  upload_id: string;
  state: Upload["state"];
  initiated_at: number;
  headers: string;
  metadata: string;
  tags: string;
  checksum_algorithm: ChecksumAlgorithm | null;
  checksum_type: Checksum["type"] | null;
  version_id: string | null;
  parts_digest: string | null;
}

interface PartRow {
  part_number: number;
  part_offset: number;
  size: number;
  md5: string;
  checksum: string | null;
  r2_key: string;
  uploaded_at: number;
}

function fromRow(row: UploadRow): Upload {
  return {
    bucketId: row.bucket_id,
    key: row.key,
    uploadId: row.upload_id,
    initiatedAt: row.initiated_at,
    state: row.state,
    headers: JSON.parse(row.headers),
    metadata: JSON.parse(row.metadata),
    tags: JSON.parse(row.tags),
    checksumAlgorithm: row.checksum_algorithm,
    checksumType: row.checksum_type,
    versionId: row.version_id,
    partsDigest: row.parts_digest,
  };
}

function partFromRow(row: PartRow): Part {
  return {
    partNumber: row.part_number,
    size: row.size,
    etag: row.md5,
    checksum: row.checksum,
    uploadedAt: row.uploaded_at,
  };
}

/** Opens an upload. Throws NoSuchBucket. */
export async function createUpload(
  env: Env,
  place: Place,
  key: string,
  description: Description & Pick<Upload, "checksumAlgorithm" | "checksumType">,
): Promise<Upload> {
  const now = Date.now();
  const uploadId = `${now.toString(16).padStart(12, "0")}${randomBytes(16).toString("hex")}`;
  return await insertUpload(env, place.bucketId, key, uploadId, "open", now, description);
}

/** An upload by id, or the one that is there by that id, open again. Throws NoSuchBucket. */
export async function insertUpload(
  env: Env,
  bucketId: number,
  key: string,
  uploadId: string,
  state: Upload["state"],
  now: number,
  description: Description & Pick<Upload, "checksumAlgorithm" | "checksumType">,
): Promise<Upload> {
  const row = await env.INDEX.prepare(
    `INSERT INTO uploads (bucket_id, key, upload_id, state, initiated_at, touched_at, headers, metadata, tags,
       checksum_algorithm, checksum_type)
     SELECT ?1, ?2, ?3, ?4, ?5, ?5, ?6, ?7, ?8, ?9, ?10
     WHERE EXISTS (SELECT 1 FROM buckets WHERE bucket_id = ?1 AND state = 'active')
     ON CONFLICT DO UPDATE SET touched_at = ?5, state = ?4 RETURNING *`,
  )
    .bind(
      bucketId,
      key,
      uploadId,
      state,
      now,
      JSON.stringify(description.headers),
      JSON.stringify(description.metadata),
      JSON.stringify(description.tags),
      description.checksumAlgorithm,
      description.checksumType,
    )
    .first<UploadRow>();
  if (!row) throw new S3Error("NoSuchBucket");
  return fromRow(row);
}

/** An open upload of this very bucket and key. Throws NoSuchUpload. */
export async function getUpload(env: Env, place: Place, key: string, uploadId: string): Promise<Upload> {
  const upload = await findUpload(env, place, key, uploadId);
  if (upload?.state !== "open") throw new S3Error("NoSuchUpload");
  return upload;
}

async function findUpload(env: Env, place: Place, key: string, uploadId: string): Promise<Upload | undefined> {
  const row = await env.INDEX.prepare("SELECT * FROM uploads WHERE bucket_id = ?1 AND key = ?2 AND upload_id = ?3")
    .bind(place.bucketId, key, uploadId)
    .first<UploadRow>();
  return row ? fromRow(row) : undefined;
}

/** Stores a part, or a piece of one whose checksum is known already; one of the same number is replaced. Throws NoSuchUpload if the upload was closed meanwhile, and what a body can throw. */
export async function putPart(
  env: Env,
  upload: Upload,
  partNumber: number,
  body: Body,
  { partOffset = 0, checksum }: { partOffset?: number; checksum?: string | null } = {},
): Promise<Part> {
  const { bucketId, key, uploadId } = upload;
  const stored = await storeSegment(env, { bucketId, key, uploadId }, body);
  const uploadedAt = Date.now();
  const partChecksum = checksum ?? stored.checksum?.value ?? null;
  const isOpen = `EXISTS (SELECT 1 FROM uploads u JOIN buckets b ON b.bucket_id = u.bucket_id AND b.state = 'active'
    WHERE u.bucket_id = ?1 AND u.key = ?5 AND u.upload_id = ?2 AND u.state IN ('open', 'replica'))`;
  const common = [bucketId, uploadId, partNumber, partOffset, key];
  const results = await env.INDEX.batch([
    env.INDEX.prepare(
      `INSERT INTO garbage (due_at, r2_key, bucket_id, key)
       SELECT ?6, r2_key, ?1, ?5 FROM parts
       WHERE bucket_id = ?1 AND upload_id = ?2 AND part_number = ?3 AND part_offset = ?4 AND ${isOpen}
       ON CONFLICT DO NOTHING`,
    ).bind(...common, uploadedAt),
    env.INDEX.prepare(
      `INSERT INTO parts (bucket_id, upload_id, part_number, part_offset, size, md5, checksum, r2_key, uploaded_at)
       SELECT ?1, ?2, ?3, ?4, ?6, ?7, ?8, ?9, ?10 WHERE ${isOpen}
       ON CONFLICT DO UPDATE SET size = ?6, md5 = ?7, checksum = ?8, r2_key = ?9, uploaded_at = ?10 RETURNING 1`,
    ).bind(...common, body.size, stored.md5, partChecksum, stored.r2Key, uploadedAt),
  ]);
  if (results[1]!.results.length === 0) {
    await dropBody(env, stored.r2Key);
    throw new S3Error("NoSuchUpload");
  }
  return { partNumber, size: body.size, etag: stored.md5, checksum: partChecksum, uploadedAt };
}

/** Parts with a number greater than `after`, ascending. */
export async function listParts(env: Env, upload: Upload, page: { after: number; limit: number }): Promise<Part[]> {
  return (await readParts(env, upload, page)).map(partFromRow);
}

/** Rows of parts with a number greater than `after`, ascending. */
export async function readParts(env: Env, upload: Upload, page: { after: number; limit: number }): Promise<PartRow[]> {
  const { results } = await env.INDEX.prepare(
    `SELECT * FROM parts WHERE bucket_id = ?1 AND upload_id = ?2 AND part_number > ?3
     ORDER BY part_number, part_offset LIMIT ?4`,
  )
    .bind(upload.bucketId, upload.uploadId, page.after, page.limit)
    .all<PartRow>();
  return results;
}

/** Keys, and within a key uploads in the order they were opened. Throws NoSuchBucket. */
export async function listUploads(
  env: Env,
  bucketId: number,
  query: ListQuery & { uploadIdMarker?: string },
): Promise<ListPage<Upload> & { nextUploadIdMarker?: string }> {
  await getBucket(env, bucketId);
  const entries: (Upload | { commonPrefix: string })[] = [];
  let position: { key: string; uploadId: string | undefined } | undefined =
    query.after === undefined ? undefined : { key: query.after, uploadId: query.uploadIdMarker };
  let last: { next: string; nextUploadIdMarker?: string } | undefined;
  for (;;) {
    const rows = await readUploads(env, bucketId, query, position, query.limit + 1);
    for (const upload of rows) {
      const commonPrefix = commonPrefixOf(upload.key, query.prefix, query.delimiter);
      const isRepeated = commonPrefix !== undefined && last?.next === commonPrefix;
      if (!isRepeated && entries.length === query.limit) return { entries, ...last };
      if (!isRepeated) entries.push(commonPrefix === undefined ? upload : { commonPrefix });
      last =
        commonPrefix === undefined ? { next: upload.key, nextUploadIdMarker: upload.uploadId } : { next: commonPrefix };
      position =
        commonPrefix === undefined
          ? { key: upload.key, uploadId: upload.uploadId }
          : { key: commonPrefix, uploadId: undefined };
    }
    if (rows.length <= query.limit) return { entries };
  }
}

async function readUploads(
  env: Env,
  bucketId: number,
  query: ListQuery,
  position: { key: string; uploadId: string | undefined } | undefined,
  limit: number,
): Promise<Upload[]> {
  const { from, isInclusive, to } = boundsOf({ ...query, after: position?.key });
  const { results } = await env.INDEX.prepare(
    `SELECT * FROM uploads WHERE bucket_id = ?1 AND state = 'open' AND (?3 IS NULL OR key < ?3)
       AND (key ${isInclusive ? ">=" : ">"} ?2 OR (?4 IS NOT NULL AND key = ?2 AND upload_id > ?4))
     ORDER BY key, upload_id LIMIT ?5`,
  )
    .bind(bucketId, from, to ?? null, position?.uploadId ?? null, limit)
    .all<UploadRow>();
  return results.map(fromRow);
}

/** Closes an upload and gives up its parts. Throws NoSuchUpload. */
export async function abortUpload(env: Env, upload: Pick<Upload, "bucketId" | "key" | "uploadId">): Promise<void> {
  const common = [upload.bucketId, upload.uploadId, upload.key];
  const isAborted =
    "EXISTS (SELECT 1 FROM uploads WHERE bucket_id = ?1 AND key = ?3 AND upload_id = ?2 AND state = 'aborted')";
  const [closed] = await env.INDEX.batch([
    env.INDEX.prepare(
      `UPDATE uploads SET state = 'aborted', touched_at = ?4
       WHERE bucket_id = ?1 AND key = ?3 AND upload_id = ?2 AND state IN ('open', 'replica') RETURNING 1`,
    ).bind(...common, Date.now()),
    env.INDEX.prepare(
      `INSERT INTO garbage (due_at, r2_key, bucket_id, key)
       SELECT ?4, r2_key, ?1, ?3 FROM parts WHERE bucket_id = ?1 AND upload_id = ?2 AND ${isAborted} ON CONFLICT DO NOTHING`,
    ).bind(...common, Date.now()),
    env.INDEX.prepare(`DELETE FROM parts WHERE bucket_id = ?1 AND upload_id = ?2 AND ${isAborted}`).bind(...common),
  ]);
  if (closed!.results.length === 0) throw new S3Error("NoSuchUpload");
}

export interface NamedPart {
  partNumber: number;
  etag: string;
  checksum?: string;
}

/**
 * Makes the named parts (ascending) one version, in one commit. Repeated with the same parts within 7 days it answers
 * the same. `summarize` gives the version's checksum from the parts', and throws if the client's own says otherwise.
 * Throws NoSuchUpload, InvalidPart, InvalidPartOrder, EntityTooSmall, EntityTooLarge, PreconditionFailed, NoSuchKey.
 */
export async function completeUpload(
  env: Env,
  place: Place,
  key: string,
  uploadId: string,
  named: NamedPart[],
  options: {
    conditions?: WriteConditions;
    summarize?: (upload: Upload, parts: Part[]) => Checksum | null;
  } = {},
): Promise<Written> {
  const partsDigest = createHash("sha256").update(JSON.stringify(named)).digest("hex");
  const upload = await findUpload(env, place, key, uploadId);
  if (upload?.state === "completed" && upload.partsDigest === partsDigest) return await answerAgain(env, upload);
  if (upload?.state !== "open") throw new S3Error("NoSuchUpload");
  try {
    const rows = pickParts(await readParts(env, upload, { after: 0, limit: 10_000 }), named);
    const draft = draftOf(upload, rows.map(partFromRow), options.summarize);
    const completion = completionOf(uploadId, rows, partsDigest);
    const { conditions } = options;
    return written(
      await commitOne(env, place, { kind: "put", key, requestId: randomUUID(), draft, completion, conditions }),
    );
  } catch (error) {
    // Another Complete or an Abort was there first, or a part was replaced under it: the guard fell for good, or the
    // parts were gone before.
    if (!(error instanceof S3Error) || !["OperationAborted", "InvalidPart"].includes(error.code)) throw error;
    const now = await findUpload(env, place, key, uploadId);
    if (now?.state === "completed" && now.partsDigest === partsDigest) return await answerAgain(env, now);
    throw now?.state === "open" ? error : new S3Error("NoSuchUpload");
  }
}

/** The version that parts make. Throws EntityTooLarge. */
function draftOf(
  upload: Upload,
  parts: Part[],
  summarize: ((upload: Upload, parts: Part[]) => Checksum | null) | undefined,
): Draft {
  const size = parts.reduce((sum, part) => sum + part.size, 0);
  if (size > MAX_OBJECT_BYTES) throw new S3Error("EntityTooLarge");
  const { headers, metadata, tags } = upload;
  const checksum = summarize?.(upload, parts) ?? null;
  return { headers, metadata, tags, size, etag: multipartEtag(parts), storage: "segments", checksum };
}

/** A completion that names just these rows. */
export function completionOf(uploadId: string, rows: PartRow[], partsDigest: string): Completion {
  return { uploadId, partsDigest, parts: rows.map((row) => [row.part_number, row.part_offset, row.r2_key]) };
}

/** The rows of the named parts. Throws InvalidPartOrder, InvalidPart, EntityTooSmall. */
function pickParts(rows: PartRow[], named: NamedPart[]): PartRow[] {
  if (named.some(({ partNumber }, i) => i > 0 && partNumber <= named[i - 1]!.partNumber)) {
    throw new S3Error("InvalidPartOrder");
  }
  const byNumber = new Map(rows.map((row) => [row.part_number, row]));
  return named.map(({ partNumber, etag, checksum }, i) => {
    const row = byNumber.get(partNumber);
    const isIt = row && row.md5 === etag && (checksum === undefined || checksum === row.checksum);
    if (!isIt) throw new S3Error("InvalidPart", undefined, { PartNumber: partNumber, ETag: etag });
    if (row.size < MIN_PART_BYTES && i < named.length - 1) {
      const details = { ProposedSize: row.size, MinSizeAllowed: MIN_PART_BYTES, PartNumber: partNumber, ETag: etag };
      throw new S3Error("EntityTooSmall", undefined, details);
    }
    return row;
  });
}

/** MD5 of the parts' MD5s, with their number. */
function multipartEtag(parts: Part[]): string {
  const hash = createHash("md5");
  for (const { etag } of parts) hash.update(etag, "hex");
  return `${hash.digest("hex")}-${parts.length}`;
}

async function answerAgain(env: Env, upload: Upload): Promise<Written> {
  const versionId = upload.versionId!;
  const [version] = await readVersions(env, upload.bucketId, [{ key: upload.key, versionId }]);
  if (!version) throw new S3Error("NoSuchUpload");
  const bucket = await getBucket(env, upload.bucketId);
  return written({ version, isVersioned: bucket.versioning !== "Unversioned" });
}
