/**
 * What the sweep clears away: bodies that nothing names any more, uploads left open, buckets that were removed, and the
 * bodies that a commit which failed left without a row.
 */
import { isS3Error } from "../errors.ts";
import type { BlobOwner } from "./bodies.ts";
import { abortUpload } from "./uploads.ts";

type StoreEnv = Pick<Env, "INDEX" | "BLOBS">;

const DAY_MS = 24 * 60 * 60 * 1000;
/** A closed upload is remembered this long, for a repeated Complete; a hidden one is given up when nothing arrived for as long. */
const UPLOAD_MEMORY_MS = 7 * DAY_MS;
const SCRUB_EVERY_MS = 7 * DAY_MS;
/** The scrub leaves younger bodies alone: their commit may be under way. */
const SCRUB_MIN_AGE_MS = 7 * DAY_MS;
/** Rows or bodies a step. R2 deletes 1,000 a call at most. */
const STEP = 1000;

/** Deletes bodies that are due and that no version's segment names. Gives how many rows it cleared. */
export async function emptyGarbage(env: StoreEnv, now: number): Promise<number> {
  const { results } = await env.INDEX.prepare(
    `SELECT g.due_at, g.r2_key, EXISTS (SELECT 1 FROM segments s
       WHERE s.bucket_id = g.bucket_id AND s.key = g.key AND s.r2_key = g.r2_key) AS isNamed
     FROM garbage g WHERE g.due_at <= ?1 ORDER BY g.due_at LIMIT ?2`,
  )
    .bind(now, STEP)
    .all<{ due_at: number; r2_key: string; isNamed: number }>();
  if (results.length === 0) return 0;
  await env.BLOBS.delete(results.filter((row) => !row.isNamed).map((row) => row.r2_key));
  await env.INDEX.prepare(
    `DELETE FROM garbage WHERE (due_at, r2_key) IN (SELECT r.value ->> 'due_at', r.value ->> 'r2_key' FROM json_each(?1) r)`,
  )
    .bind(JSON.stringify(results.map(({ due_at, r2_key }) => ({ due_at, r2_key }))))
    .run();
  return results.length;
}

/** Gives up hidden uploads that nothing arrived in for a week, and forgets closed ones. */
export async function clearUploads(env: StoreEnv & Env, now: number): Promise<void> {
  const before = now - UPLOAD_MEMORY_MS;
  const { results } = await env.INDEX.prepare(
    `SELECT bucket_id AS bucketId, key, upload_id AS uploadId FROM uploads
     WHERE state <> 'open' AND touched_at < ?1 AND state = 'replica' LIMIT ?2`,
  )
    .bind(before, STEP)
    .all<{ bucketId: number; key: string; uploadId: string }>();
  for (const upload of results) await giveUp(env, upload);
  await env.INDEX.prepare(
    "DELETE FROM uploads WHERE state <> 'open' AND touched_at < ?1 AND state IN ('completed', 'aborted')",
  )
    .bind(before)
    .run();
}

/** Its last piece may have arrived this very moment, and closed it. */
async function giveUp(env: Env, upload: Parameters<typeof abortUpload>[1]): Promise<void> {
  try {
    await abortUpload(env, upload);
  } catch (error) {
    if (!isS3Error(error) || error.code !== "NoSuchUpload") throw error;
  }
}

/** Removes a step of what a deleted bucket left behind. True when nothing is left. */
export async function forgetBucket(env: StoreEnv, bucketId: number): Promise<boolean> {
  const statements = [
    `INSERT INTO garbage (due_at, r2_key, bucket_id, key) SELECT 0, p.r2_key, ?1, u.key FROM uploads u
       JOIN parts p ON p.bucket_id = u.bucket_id AND p.upload_id = u.upload_id WHERE u.bucket_id = ?1 ON CONFLICT DO NOTHING`,
    "DELETE FROM parts WHERE bucket_id = ?1",
    "DELETE FROM uploads WHERE bucket_id = ?1",
    "DELETE FROM outbox WHERE link_id IN (SELECT link_id FROM links WHERE bucket_id = ?1)",
    "DELETE FROM failed WHERE link_id IN (SELECT link_id FROM links WHERE bucket_id = ?1)",
    "DELETE FROM link_minutes WHERE link_id IN (SELECT link_id FROM links WHERE bucket_id = ?1)",
    "DELETE FROM links WHERE bucket_id = ?1",
    "DELETE FROM slots WHERE bucket_id = ?1",
    `DELETE FROM removed WHERE bucket_id = ?1 AND (key, version_id) IN
       (SELECT key, version_id FROM removed WHERE bucket_id = ?1 LIMIT ${STEP * 10})`,
    "DELETE FROM jobs WHERE kind = 'forget-bucket' AND bucket_id = ?1 AND NOT EXISTS (SELECT 1 FROM removed WHERE bucket_id = ?1) RETURNING 1",
  ];
  const results = await env.INDEX.batch(statements.map((sql) => env.INDEX.prepare(sql).bind(bucketId)));
  return results.at(-1)!.results.length > 0;
}

/** Buckets that were removed and are still to be forgotten. */
export async function listForgotten(env: StoreEnv): Promise<number[]> {
  const { results } = await env.INDEX.prepare("SELECT bucket_id FROM jobs WHERE kind = 'forget-bucket' LIMIT 100").all<{
    bucket_id: number;
  }>();
  return results.map((row) => row.bucket_id);
}

/**
 * A step of the weekly scrub: lists BLOBS from where the last step ended, and deletes what is older than a week and
 * named by no row.
 */
export async function scrub(env: StoreEnv, now: number): Promise<void> {
  const job = await env.INDEX.prepare(
    `INSERT INTO jobs (kind, bucket_id, due_at) VALUES ('scrub', 0, ?1) ON CONFLICT DO UPDATE SET due_at = due_at RETURNING cursor, due_at`,
  )
    .bind(now + SCRUB_EVERY_MS)
    .first<{ cursor: string | null; due_at: number }>();
  if (!job || job.due_at > now) return;
  const page = await env.BLOBS.list({ cursor: job.cursor ?? undefined, limit: STEP, include: ["customMetadata"] });
  const old = page.objects.filter((object) => now - object.uploaded.getTime() > SCRUB_MIN_AGE_MS);
  const orphans = await findOrphans(env, old);
  if (orphans.length > 0) await env.BLOBS.delete(orphans);
  await env.INDEX.prepare("UPDATE jobs SET cursor = ?1, due_at = ?2 WHERE kind = 'scrub'")
    .bind(page.truncated ? page.cursor : null, page.truncated ? now : now + SCRUB_EVERY_MS)
    .run();
}

async function findOrphans(env: StoreEnv, objects: R2Object[]): Promise<string[]> {
  const asked = objects.map((object) => ({ r2Key: object.key, ...ownerOf(object) }));
  const { results } = await env.INDEX.prepare(
    `SELECT r.value ->> 'r2Key' AS r2Key FROM json_each(?1) r
     WHERE NOT EXISTS (SELECT 1 FROM segments s WHERE s.bucket_id = r.value ->> 'bucketId' AND s.key = r.value ->> 'key'
         AND s.r2_key = r.value ->> 'r2Key')
       AND NOT EXISTS (SELECT 1 FROM parts p WHERE p.bucket_id = r.value ->> 'bucketId'
         AND p.upload_id = r.value ->> 'uploadId' AND p.r2_key = r.value ->> 'r2Key')`,
  )
    .bind(JSON.stringify(asked))
    .all<{ r2Key: string }>();
  return results.map((row) => row.r2Key);
}

/** Whom a body was stored for: what storeSegment wrote into its customMetadata. */
function ownerOf(object: R2Object): BlobOwner {
  const { bucket = "0", key = "", upload } = object.customMetadata ?? {};
  return { bucketId: Number(bucket), key: decodeURIComponent(key), uploadId: upload };
}
