/**
 * Buckets of this zone: configuration and life. The name is only looked up in the directory; here all is filed under
 * bucket_id, which is never given twice.
 */
import { S3Error } from "../errors.ts";
import type { ReplicationConfiguration } from "./rules.ts";

export type Versioning = "Unversioned" | "Enabled" | "Suspended";

export interface Bucket {
  bucketId: number;
  name: string;
  organizationId: string;
  state: "active" | "deleting";
  /** raised by every change of configuration; a version is inserted only at the revision that it was decided with */
  revision: number;
  versioning: Versioning;
  slots: number;
  replication: ReplicationConfiguration | null;
  /** milliseconds */
  createdAt: number;
}

export interface BucketRow {
  bucket_id: number;
  name: string;
  organization_id: string;
  state: Bucket["state"];
  revision: number;
  versioning: Versioning;
  slots: number;
  replication: string | null;
  created_at: number;
}

export function bucketFromRow(row: BucketRow): Bucket {
  return {
    bucketId: row.bucket_id,
    name: row.name,
    organizationId: row.organization_id,
    state: row.state,
    revision: row.revision,
    versioning: row.versioning,
    slots: row.slots,
    replication: row.replication === null ? null : JSON.parse(row.replication),
    createdAt: row.created_at,
  };
}

type IndexEnv = Pick<Env, "INDEX">;

/** The bucket, or undefined once its row is gone. */
export async function findBucketRow(env: IndexEnv, bucketId: number): Promise<Bucket | undefined> {
  const row = await env.INDEX.prepare("SELECT * FROM buckets WHERE bucket_id = ?1").bind(bucketId).first<BucketRow>();
  return row ? bucketFromRow(row) : undefined;
}

/** Throws NoSuchBucket; a bucket that is being deleted is gone already. */
export async function getBucket(env: IndexEnv, bucketId: number): Promise<Bucket> {
  const bucket = await findBucketRow(env, bucketId);
  if (bucket?.state !== "active") throw new S3Error("NoSuchBucket");
  return bucket;
}

/** Finds a row if the bucket is there: for a batch that reads in it. */
export function lookForBucket(env: IndexEnv, bucketId: number): D1PreparedStatement {
  return env.INDEX.prepare("SELECT 1 FROM buckets WHERE bucket_id = ?1 AND state = 'active'").bind(bucketId);
}

/** Idempotent: a bucket that is there stays as it is. */
export async function createBucket(
  env: IndexEnv,
  bucket: { bucketId: number; name: string; organizationId: string; slots: number },
): Promise<void> {
  await env.INDEX.prepare(
    "INSERT INTO buckets (bucket_id, name, organization_id, slots, created_at) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
  )
    .bind(bucket.bucketId, bucket.name, bucket.organizationId, bucket.slots, Date.now())
    .run();
}

const IS_OCCUPIED = `EXISTS (SELECT 1 FROM versions WHERE bucket_id = ?1)
  OR EXISTS (SELECT 1 FROM uploads WHERE bucket_id = ?1 AND state = 'open')`;

/** Looked at first: a bucket in use must not seem gone for a moment because somebody tried to delete it. Throws BucketNotEmpty. */
export async function requireEmpty(env: IndexEnv, bucketId: number): Promise<void> {
  const occupied = await env.INDEX.prepare(`SELECT 1 WHERE ${IS_OCCUPIED}`).bind(bucketId).first();
  if (occupied) throw new S3Error("BucketNotEmpty");
}

/**
 * Removes an empty bucket: first `deleting`, which no insert passes, then the look for versions and open uploads, and
 * back to `active` if there are any. Safe to repeat from any half.
 * Throws BucketNotEmpty; an absent bucket succeeds.
 */
export async function deleteBucket(env: IndexEnv, bucketId: number): Promise<void> {
  await requireEmpty(env, bucketId);
  await env.INDEX.prepare(
    "UPDATE buckets SET state = 'deleting', revision = revision + 1 WHERE bucket_id = ?1 AND state = 'active'",
  )
    .bind(bucketId)
    .run();
  const [removal] = await env.INDEX.batch([
    env.INDEX.prepare(
      `DELETE FROM buckets WHERE bucket_id = ?1 AND state = 'deleting' AND NOT (${IS_OCCUPIED}) RETURNING 1`,
    ).bind(bucketId),
    env.INDEX.prepare(
      `INSERT INTO jobs (kind, bucket_id, due_at) SELECT 'forget-bucket', ?1, 0
       WHERE NOT EXISTS (SELECT 1 FROM buckets WHERE bucket_id = ?1) ON CONFLICT DO NOTHING`,
    ).bind(bucketId),
    env.INDEX.prepare(
      "UPDATE buckets SET state = 'active', revision = revision + 1 WHERE bucket_id = ?1 AND state = 'deleting'",
    ).bind(bucketId),
  ]);
  if (removal!.results.length > 0) return;
  if (await findBucketRow(env, bucketId)) throw new S3Error("BucketNotEmpty");
}

/** Throws NoSuchBucket; InvalidBucketState when suspending under a replication configuration. */
export async function setVersioning(
  env: IndexEnv,
  bucketId: number,
  status: Exclude<Versioning, "Unversioned">,
): Promise<void> {
  const { results } = await env.INDEX.prepare(
    `UPDATE buckets SET versioning = ?2, revision = revision + 1
     WHERE bucket_id = ?1 AND state = 'active' AND (?2 = 'Enabled' OR replication IS NULL) RETURNING 1`,
  )
    .bind(bucketId, status)
    .run();
  if (results.length > 0) return;
  await getBucket(env, bucketId);
  throw new S3Error(
    "InvalidBucketState",
    "A replication configuration is present on this bucket, so you cannot change the versioning state. To change the versioning state, first delete the replication configuration.",
  );
}

/**
 * Runs changes of a bucket's configuration in one transaction that also raises its revision, provided that the revision
 * is still the one that they were decided with.
 * Throws OperationAborted if it isn't, or the bucket is being deleted.
 */
export async function changeBucket(
  env: IndexEnv,
  bucket: Pick<Bucket, "bucketId" | "revision">,
  changes: D1PreparedStatement[],
): Promise<void> {
  try {
    await env.INDEX.batch([
      env.INDEX.prepare(
        "UPDATE buckets SET revision = revision + 1 WHERE bucket_id = ?1 AND revision = ?2 AND state = 'active'",
      ).bind(bucket.bucketId, bucket.revision),
      // D1 has no ROLLBACK for a batch: a statement that fails is the only way to undo those before it.
      env.INDEX.prepare("SELECT iif(changes() = 0, json('the revision has changed'), 1)"),
      ...changes,
    ]);
  } catch (error) {
    if (String(error).includes("malformed JSON")) throw new S3Error("OperationAborted");
    throw error;
  }
}

/** Objects and bytes of buckets: all versions, delete markers not counted. */
export async function measureBuckets(
  env: IndexEnv,
  bucketIds: number[],
): Promise<{ bucketId: number; objects: number; bytes: number }[]> {
  const { results } = await env.INDEX.prepare(
    `SELECT r.value AS bucketId, count(v.key) AS objects, coalesce(sum(v.size), 0) AS bytes
     FROM json_each(?1) r LEFT JOIN versions v ON v.bucket_id = r.value AND v.is_delete_marker = 0
     GROUP BY r.value`,
  )
    .bind(JSON.stringify(bucketIds))
    .all<{ bucketId: number; objects: number; bytes: number }>();
  return results;
}

/** Names of an organization's buckets whose replication configuration passes on a role. */
export async function listBucketsUsingRole(env: IndexEnv, organizationId: string, roleId: string): Promise<string[]> {
  const { results } = await env.INDEX.prepare(
    "SELECT name FROM buckets WHERE organization_id = ?1 AND replication ->> 'role' = ?2 ORDER BY name",
  )
    .bind(organizationId, roleId)
    .all<{ name: string }>();
  return results.map((row) => row.name);
}
