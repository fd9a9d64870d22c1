/**
 * A version is the only thing there is: a bucket is a set of versions that grows by inserts and shrinks by recorded
 * removals. An object's current state is derived (the version with the greatest id), never stored; a delete marker is a
 * version without a body, a replica one that arrived with its id. Two zones with the same versions show the same
 * objects, whatever the order of arrival.
 *
 * This file has the type, its row, and the statements that read rows. What writes them is commit.ts.
 */
import { hash } from "node:crypto";
import { S3Error } from "../errors.ts";
import { millisecondsOf } from "./clock.ts";

/**
 * Content headers as S3 gives them back, by lower-case header name: content-type, cache-control, content-disposition,
 * content-encoding, content-language, expires, x-amz-website-redirect-location, x-amz-storage-class.
 */
export type ContentHeaders = Record<string, string>;

export type ChecksumAlgorithm = "CRC32" | "CRC32C" | "CRC64NVME" | "SHA1" | "SHA256";

export interface Checksum {
  algorithm: ChecksumAlgorithm;
  type: "FULL_OBJECT" | "COMPOSITE";
  /** base64; COMPOSITE ends in -N */
  value: string;
}

/** What the client says of an object beside its bytes. */
export interface Description {
  headers: ContentHeaders;
  /** user metadata by lower-case name without `x-amz-meta-` */
  metadata: Record<string, string>;
  tags: Record<string, string>;
}

export interface Version extends Description {
  bucketId: number;
  key: string;
  /** 19 decimal digits; text order is time order (clock.ts) */
  versionId: string;
  /** shown as version id `null` outside */
  isNull: boolean;
  isDeleteMarker: boolean;
  /** bytes; 0 for a delete marker */
  size: number;
  /** lower-case hex MD5, or `hex-N` of N parts, without quotes; empty for a delete marker */
  etag: string;
  storage: "none" | "inline" | "segments";
  checksum: Checksum | null;
  /** ids of the links that this version is to travel by, fixed at its creation; empty for a REPLICA */
  bound: number[];
  /** bucket_id of its source if this is a REPLICA */
  source: number | null;
  /** milliseconds; when a REPLICA arrived */
  receivedAt: number | null;
  /** the request that wrote it */
  requestId: string;
  /** clock id of the last change of its tags; null: they are as it was written */
  tagsChange: string | null;
  /** the requests of the last changes made here, the latest first; they don't travel */
  tagsRequests: string[];
}

/** x-amz-replication-status */
export type ReplicationStatus = "PENDING" | "COMPLETED" | "FAILED" | "REPLICA";

/** Last-Modified, in milliseconds since the epoch: the id's own, so it is the same on every replica. */
export function lastModified(version: Pick<Version, "versionId">): number {
  return millisecondsOf(version.versionId);
}

/** What S3 shows as version id. */
export function shownVersionId(version: Pick<Version, "versionId" | "isNull">): string {
  return version.isNull ? "null" : version.versionId;
}

/**
 * What S3 says where there is no object: NoSuchKey, for an id NoSuchVersion, and MethodNotAllowed if it is that of a
 * delete marker. https://docs.aws.amazon.com/AmazonS3/latest/userguide/DeleteMarker.html
 */
export function absentObject(key: string, versionId: string | undefined, marker: Version | undefined): S3Error {
  if (!marker && versionId !== undefined) {
    return new S3Error("NoSuchVersion", undefined, { Key: key, VersionId: versionId });
  }
  const headers = marker && { "x-amz-delete-marker": "true", "x-amz-version-id": shownVersionId(marker) };
  if (versionId === undefined) return new S3Error("NoSuchKey", undefined, { Key: key, ...headers });
  return new S3Error("MethodNotAllowed", undefined, {
    ResourceType: "DeleteMarker",
    allow: "DELETE",
    "last-modified": new Date(lastModified(marker!)).toUTCString(),
    ...headers,
  });
}

/** Clock id that a version's tags are of: what a later change must be greater than. */
export function tagsClock(version: Pick<Version, "versionId" | "tagsChange">): string {
  return version.tagsChange ?? version.versionId;
}

/** What a replica brings of its source's clock. */
export function clockIds({ versionId, tagsChange }: Pick<Version, "versionId" | "tagsChange">): string[] {
  return tagsChange === null ? [versionId] : [versionId, tagsChange];
}

/** The Sequencer slot that orders a key: FNV-1a of its UTF-8, modulo the bucket's slots. */
export function slotOf(key: string, slots: number): number {
  if (slots === 1) return 0;
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(key)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash % slots;
}

export interface VersionRow {
  bucket_id: number;
  key: string;
  version_id: string;
  is_null: number;
  is_delete_marker: number;
  size: number;
  etag: string;
  storage: Version["storage"];
  headers: string;
  metadata: string;
  tags: string;
  checksum: string | null;
  bound: string;
  source: number | null;
  received_at: number | null;
  digest: number;
  request_id: string;
  tags_change: string | null;
  tags_requests: string | null;
}

/** Columns of a version's row behind its bucket_id, in the order that rows are packed in. */
export const VERSION_COLUMNS = [
  "key",
  "version_id",
  "is_null",
  "is_delete_marker",
  "size",
  "etag",
  "storage",
  "headers",
  "metadata",
  "tags",
  "checksum",
  "bound",
  "source",
  "received_at",
  "digest",
  "request_id",
  "tags_change",
  "tags_requests",
] as const satisfies (keyof VersionRow)[];

/**
 * SQL: a row as one text, in the place of eighteen columns, each of which is handled four times on its way through D1
 * and RPC. An array, for D1 takes no more than 32 arguments of a function, and JSON, which alone carries a NUL in a key.
 */
export function packedRow(table: string): string {
  return `json_array(${VERSION_COLUMNS.map((column) => `${table}.${column}`).join(", ")})`;
}

export function unpackRow(bucketId: number, values: unknown[]): VersionRow {
  const row: Record<string, unknown> = { bucket_id: bucketId };
  for (const [i, column] of VERSION_COLUMNS.entries()) row[column] = values[i];
  return row as unknown as VersionRow;
}

export function fromRow(row: VersionRow): Version {
  return {
    bucketId: row.bucket_id,
    key: row.key,
    versionId: row.version_id,
    isNull: row.is_null === 1,
    isDeleteMarker: row.is_delete_marker === 1,
    size: row.size,
    etag: row.etag,
    storage: row.storage,
    headers: JSON.parse(row.headers),
    metadata: JSON.parse(row.metadata),
    tags: JSON.parse(row.tags),
    checksum: row.checksum === null ? null : JSON.parse(row.checksum),
    bound: JSON.parse(row.bound),
    source: row.source,
    receivedAt: row.received_at,
    requestId: row.request_id,
    tagsChange: row.tags_change,
    tagsRequests: row.tags_requests === null ? [] : JSON.parse(row.tags_requests),
  };
}

export function toRow(version: Version): VersionRow {
  return {
    bucket_id: version.bucketId,
    key: version.key,
    version_id: version.versionId,
    is_null: Number(version.isNull),
    is_delete_marker: Number(version.isDeleteMarker),
    size: version.size,
    etag: version.etag,
    storage: version.storage,
    headers: JSON.stringify(version.headers),
    metadata: JSON.stringify(version.metadata),
    tags: JSON.stringify(version.tags),
    checksum: version.checksum && JSON.stringify(version.checksum),
    bound: JSON.stringify(version.bound),
    source: version.source,
    received_at: version.receivedAt,
    digest: digestOf(version),
    request_id: version.requestId,
    tags_change: version.tagsChange,
    tags_requests: version.tagsRequests.length > 0 ? JSON.stringify(version.tagsRequests) : null,
  };
}

/** 40 bits of SHA-256 over what both ends of a link must agree on. Whether a version is null doesn't travel, so it isn't in it. */
export function digestOf(
  version: Pick<Version, "key" | "versionId" | "size" | "etag" | "isDeleteMarker" | "tags">,
): number {
  const tags = Object.entries(version.tags).sort(([a], [b]) => (a < b ? -1 : 1));
  const facts = [version.key, version.versionId, version.size, version.etag, version.isDeleteMarker, tags];
  return Number.parseInt(hash("sha256", JSON.stringify(facts)).slice(0, 10), 16);
}

/** The version as a delete marker, a body, or nothing: the state of a key that conditions are decided on. */
export interface KeyState {
  /** greatest version id of the key, delete markers too; empty without any version */
  base: string;
  /** ETag of the current object; undefined where there is none, or a delete marker is current */
  etag: string | undefined;
}

type IndexEnv = Pick<Env, "INDEX">;

/** Greatest version of each key that has any. */
export async function readStates(env: IndexEnv, bucketId: number, keys: string[]): Promise<Map<string, KeyState>> {
  const versions = await readCurrent(env, bucketId, keys);
  return new Map(
    versions.map(({ key, versionId, etag, isDeleteMarker }) => [
      key,
      { base: versionId, etag: isDeleteMarker ? undefined : etag },
    ]),
  );
}

/** Versions by id, or a key's null version for the id `null`; absent ones are left out. */
export async function readVersions(
  env: IndexEnv,
  bucketId: number,
  wanted: { key: string; versionId: string }[],
): Promise<Version[]> {
  const { results } = await env.INDEX.prepare(
    `SELECT v.* FROM json_each(?2) r CROSS JOIN versions v
     WHERE v.bucket_id = ?1 AND v.key = r.value ->> 'key' AND v.version_id = r.value ->> 'versionId'
     UNION ALL
     SELECT v.* FROM json_each(?2) r CROSS JOIN versions v
     WHERE r.value ->> 'versionId' = 'null' AND v.bucket_id = ?1 AND v.key = r.value ->> 'key' AND v.is_null = 1`,
  )
    .bind(bucketId, JSON.stringify(wanted))
    .all<VersionRow>();
  return results.map(fromRow);
}

/** The greatest version of each key, delete markers too; keys without any are left out. */
export async function readCurrent(env: IndexEnv, bucketId: number, keys: string[]): Promise<Version[]> {
  const { results } = await env.INDEX.prepare(
    `SELECT v.* FROM json_each(?2) r CROSS JOIN versions v
     WHERE v.bucket_id = ?1 AND v.key = r.value
       AND v.version_id = (SELECT version_id FROM versions WHERE bucket_id = ?1 AND key = r.value ORDER BY version_id DESC LIMIT 1)`,
  )
    .bind(bucketId, JSON.stringify(keys))
    .all<VersionRow>();
  return results.map(fromRow);
}

/** The greatest removed id of each key that has any. */
export async function readGreatestRemoved(env: IndexEnv, bucketId: number, keys: string[]): Promise<string[]> {
  const { results } = await env.INDEX.prepare(
    `SELECT max(x.version_id) AS id FROM json_each(?2) r CROSS JOIN removed x
     WHERE x.bucket_id = ?1 AND x.key = r.value GROUP BY r.value`,
  )
    .bind(bucketId, JSON.stringify(keys))
    .all<{ id: string }>();
  return results.map(({ id }) => id);
}

/** Ids of a bucket's removed versions among those given. */
export async function readRemoved(
  env: IndexEnv,
  bucketId: number,
  wanted: { key: string; versionId: string }[],
): Promise<{ key: string; versionId: string }[]> {
  const { results } = await env.INDEX.prepare(
    `SELECT x.key AS key, x.version_id AS versionId FROM json_each(?2) r CROSS JOIN removed x
     WHERE x.bucket_id = ?1 AND x.key = r.value ->> 'key' AND x.version_id = r.value ->> 'versionId'`,
  )
    .bind(bucketId, JSON.stringify(wanted))
    .all<{ key: string; versionId: string }>();
  return results;
}
