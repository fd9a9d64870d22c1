/**
 * The bucket directory: which buckets there are in all zones, by name. The only statements on CONTROL.buckets.
 *
 * A bucket has a number that is never used again (AUTOINCREMENT), and everything about it is filed under that number;
 * the name is only looked up here. A bucket removed and created again by anybody inherits nothing.
 */
import { Cache } from "./cache.ts";
import { S3Error } from "./errors.ts";

export interface DirectoryEntry {
  bucketId: number;
  name: string;
  organizationId: string;
  /** name of the zone that holds the bucket */
  zone: string;
  state: "creating" | "active" | "deleting";
  /** Sequencer slots; fixed when the bucket is created */
  slots: number;
  /** milliseconds since the epoch */
  createdAt: number;
}

type DirectoryEnv = Pick<Env, "CONTROL">;

interface Row {
  bucket_id: number;
  name: string;
  organization_id: string;
  zone: string;
  state: DirectoryEntry["state"];
  slots: number;
  created_at: number;
}

const COLUMNS = "bucket_id, name, organization_id, zone, state, slots, created_at";
/** The greatest code point: behind every name that begins with a prefix, in SQLite's order of bytes. */
const LAST = "\u{10ffff}";

/** Absence is never remembered: a bucket made a moment ago through another zone must be found. */
const entries = new Cache<DirectoryEntry>({ ttl: 20_000, absentTtl: 0, staleFor: 15 * 60_000 });

/**
 * The entry by name, from this isolate's cache if it is younger than 20 s (absence is never cached); `fresh` asks the
 * database. Throws SlowDown if the control database is away and the name unknown to this isolate.
 */
export async function findBucket(
  env: DirectoryEnv,
  name: string,
  options: { fresh?: boolean } = {},
): Promise<DirectoryEntry | undefined> {
  // What can't be a bucket's name needs no question, and would fill the cache with what clients make up.
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(name)) return undefined;
  const entry = await entries.get(name, () => loadBucket(env, name), options);
  // What is on its way to another state soon isn't in this one, and another isolate won't tell this cache.
  if (entry && entry.state !== "active") entries.forget(name);
  return entry;
}

async function loadBucket(env: DirectoryEnv, name: string): Promise<DirectoryEntry | undefined> {
  try {
    const row = await selectByName(env, name).first<Row>();
    return row ? toEntry(row) : undefined;
  } catch (cause) {
    // Not knowing is not the same as missing: NoSuchBucket would be a lie.
    throw Object.assign(new S3Error("SlowDown"), { cause });
  }
}

function selectByName(env: DirectoryEnv, name: string): D1PreparedStatement {
  return env.CONTROL.prepare(`SELECT ${COLUMNS} FROM buckets WHERE name = ?1`).bind(name);
}

/** Active buckets of an organization in name order, from the database. `after` is exclusive. */
export async function listBuckets(
  env: DirectoryEnv,
  organizationId: string,
  page: { prefix?: string; zone?: string; after?: string; limit: number },
): Promise<DirectoryEntry[]> {
  const { prefix = "", zone = null, after = "", limit } = page;
  const { results } = await env.CONTROL.prepare(
    `SELECT ${COLUMNS} FROM buckets
     WHERE organization_id = ?1 AND name > ?2 AND name >= ?3 AND name < ?4 AND state = 'active'
       AND (?5 IS NULL OR zone = ?5)
     ORDER BY name LIMIT ?6`,
  )
    .bind(organizationId, after, prefix, prefix + LAST, zone, limit)
    .all<Row>();
  return results.map(toEntry);
}

/**
 * Claims a name for a bucket to be created: inserts a row `creating`, or gives back the one that is there if it is of
 * the same organization and zone and `creating` or `active`.
 * Throws BucketAlreadyOwnedByYou (same organization, another zone), BucketAlreadyExists (somebody else's), OperationAborted (`deleting`).
 */
export async function claimName(
  env: DirectoryEnv,
  claim: { name: string; organizationId: string; zone: string; slots: number },
): Promise<DirectoryEntry> {
  const { name, organizationId, zone, slots } = claim;
  const insertion = env.CONTROL.prepare(
    `INSERT INTO buckets (name, organization_id, zone, state, slots, created_at, state_changed_at)
     VALUES (?1, ?2, ?3, 'creating', ?4, ?5, ?5) ON CONFLICT (name) DO NOTHING`,
  ).bind(name, organizationId, zone, slots, Date.now());
  const [, selected] = await env.CONTROL.batch<Row>([insertion, selectByName(env, name)]);
  entries.forget(name);
  const entry = toEntry(selected!.results[0]!);
  if (entry.organizationId !== organizationId) throw new S3Error("BucketAlreadyExists");
  if (entry.state === "deleting") throw new S3Error("OperationAborted");
  if (entry.zone !== zone) throw new S3Error("BucketAlreadyOwnedByYou");
  return entry;
}

/** Moves an entry from one state to another; false if it wasn't in `from`. Forgets the cached entry. */
export async function setBucketState(
  env: DirectoryEnv,
  entry: Pick<DirectoryEntry, "bucketId" | "name">,
  from: DirectoryEntry["state"],
  to: DirectoryEntry["state"],
): Promise<boolean> {
  const { meta } = await env.CONTROL.prepare(
    "UPDATE buckets SET state = ?3, state_changed_at = ?4 WHERE bucket_id = ?1 AND state = ?2",
  )
    .bind(entry.bucketId, from, to, Date.now())
    .run();
  entries.forget(entry.name);
  return meta.changes > 0;
}

/** Removes an entry, whatever its state. Its number is never given again. */
export async function releaseName(env: DirectoryEnv, entry: Pick<DirectoryEntry, "bucketId" | "name">): Promise<void> {
  await env.CONTROL.prepare("DELETE FROM buckets WHERE bucket_id = ?1").bind(entry.bucketId).run();
  entries.forget(entry.name);
}

/** Entries of a zone that stand in `creating` or `deleting` since before `olderThan` (milliseconds): what a crash left half way. */
export async function listUnsettled(env: DirectoryEnv, zone: string, olderThan: number): Promise<DirectoryEntry[]> {
  const { results } = await env.CONTROL.prepare(
    `SELECT ${COLUMNS} FROM buckets WHERE state <> 'active' AND zone = ?1 AND state_changed_at < ?2
     ORDER BY state_changed_at`,
  )
    .bind(zone, olderThan)
    .all<Row>();
  return results.map(toEntry);
}

function toEntry(row: Row): DirectoryEntry {
  return {
    bucketId: row.bucket_id,
    name: row.name,
    organizationId: row.organization_id,
    zone: row.zone,
    state: row.state,
    slots: row.slots,
    createdAt: row.created_at,
  };
}
