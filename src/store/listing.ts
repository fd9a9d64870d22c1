/**
 * Listings: a skip scan. One recursive statement seeks from key to next key, and past a whole common prefix in one step
 * when a delimiter is given, so a page costs the same with 1 and with 100 versions a key.
 *
 * Two traps, both measured: without `CROSS JOIN` D1's planner turns the join round and reads every version of the
 * bucket; and LIKE takes patterns of 50 bytes at most, so prefixes are range bounds.
 */
import { invalidArgument, S3Error } from "../errors.ts";
import { getBucket, lookForBucket } from "./buckets.ts";
import {
  fromRow,
  packedRow,
  readVersions,
  unpackRow,
  VERSION_COLUMNS,
  type Version,
  type VersionRow,
} from "./versions.ts";

export interface ListQuery {
  prefix: string;
  /** empty: none */
  delimiter: string;
  /** only keys greater than this; if it is a common prefix itself, everything under it is passed over */
  after?: string;
  limit: number;
}

export interface ListPage<T> {
  entries: (T | { commonPrefix: string })[];
  /** the last key or common prefix that was examined, if there may be more */
  next?: string;
}

export interface ListedVersion extends Version {
  isLatest: boolean;
}

/** Keys examined in one request, at most: a page behind that many delete markers ends early, truncated, perhaps empty. */
const MAX_EXAMINED = 50_000;
/** Keys examined in one statement. */
const STEP = 5000;

type IndexEnv = Pick<Env, "INDEX">;

interface ScannedRow extends VersionRow {
  /** how many keys were examined, this one counted */
  n: number;
}

/** Where it stands in a packed row; key and version id stand first. */
const IS_DELETE_MARKER = VERSION_COLUMNS.indexOf("is_delete_marker");

/** The least text greater than all that begin with `text`; undefined if there is none. Code points, because UTF-8 order is theirs. */
export function successor(text: string): string | undefined {
  const points = Array.from(text, (character) => character.codePointAt(0)!);
  while (points.length > 0) {
    const last = points.pop()!;
    if (last === 0x10ffff) continue;
    return String.fromCodePoint(...points, last === 0xd7ff ? 0xe000 : last + 1);
  }
  return undefined;
}

interface Bounds {
  /** first key that may be shown, itself included if `isInclusive` */
  from: string;
  isInclusive: boolean;
  /** keys from here on are out */
  to: string | undefined;
}

/** Negative, zero or positive, in the order of UTF-8, which is SQLite's: JavaScript compares UTF-16. */
function compare(one: string, other: string): number {
  return Buffer.compare(Buffer.from(one), Buffer.from(other));
}

/**
 * Range of keys that a query may show. A marker that is a common prefix itself passes over everything under it. Pure.
 */
export function boundsOf({ prefix, delimiter, after = "" }: Omit<ListQuery, "limit">): Bounds {
  const isCommonPrefix = after !== "" && commonPrefixOf(after, prefix, delimiter) === after;
  return isCommonPrefix ? boundsBehind(after, prefix) : boundsAfter(after, prefix);
}

function boundsAfter(after: string, prefix: string): Bounds {
  const to = prefix === "" ? undefined : successor(prefix);
  const isWithin = after !== "" && compare(after, prefix) >= 0;
  return { from: isWithin ? after : prefix, isInclusive: !isWithin, to };
}

function boundsBehind(commonPrefix: string, prefix: string): Bounds {
  const { to } = boundsAfter("", prefix);
  const from = successor(commonPrefix);
  return from === undefined
    ? { from: commonPrefix, isInclusive: false, to: commonPrefix }
    : { from, isInclusive: true, to };
}

/** The common prefix that a key falls under: up to and with the first delimiter behind the prefix. */
export function commonPrefixOf(key: string, prefix: string, delimiter: string): string | undefined {
  if (delimiter === "" || !key.startsWith(prefix)) return undefined;
  const at = key.indexOf(delimiter, prefix.length);
  return at < 0 ? undefined : key.slice(0, at + delimiter.length);
}

// ?1 bucket, ?2 from, ?3 to or NULL, ?4 characters of the prefix, ?5 delimiter, ?6 keys to examine,
// ?7 delimiter with its last character raised by one: what stands behind everything under a common prefix.
// Each step is one seek, to the greatest version of the next key, and takes its whole row along: seeking it a second
// time, and handing a thousand rows on in eighteen columns, took half of a page. A key's successor is the key with a NUL
// behind it.
function scan(isInclusive: boolean, skipsPrefix: string): string {
  const greatest = packedRow("versions");
  const inBucket = "FROM versions WHERE bucket_id = ?1 AND (?3 IS NULL OR key < ?3)";
  const key = "(s.found ->> 0)";
  const group = `CASE WHEN ?5 <> '' AND instr(substr(${key}, ?4 + 1), ?5) > 0
    THEN substr(${key}, 1, ?4 + instr(substr(${key}, ?4 + 1), ?5) - 1) END`;
  return `WITH RECURSIVE s (found, n) AS (
      SELECT (SELECT ${greatest} ${inBucket} AND key ${isInclusive ? ">=" : ">"} ?2
        ORDER BY key, version_id DESC LIMIT 1), 1
      UNION ALL
      SELECT (SELECT ${greatest} ${inBucket}
        AND key >= CASE WHEN ${skipsPrefix} AND ${group} IS NOT NULL THEN ${group} || ?7 ELSE ${key} || char(0) END
        ORDER BY key, version_id DESC LIMIT 1), n + 1
      FROM s WHERE s.found IS NOT NULL AND n < ?6
    ), g (found, n, common_prefix) AS (SELECT s.found, n, ${group} || ?5 FROM s WHERE s.found IS NOT NULL)`;
}

/**
 * Current versions that are no delete markers, in UTF-8 binary order of key, and common prefixes that have any.
 * Throws NoSuchBucket.
 */
export async function listObjects(env: IndexEnv, bucketId: number, query: ListQuery): Promise<ListPage<Version>> {
  const page: ListPage<Version> = { entries: [] };
  let bounds = boundsOf(query);
  let shown: string | undefined;
  for (let examined = 0; ; ) {
    const wanted = query.limit - page.entries.length + 1;
    const rows = await scanObjects(env, bucketId, query, bounds, wanted);
    const last = rows.at(-1);
    for (const row of rows) {
      const commonPrefix = commonPrefixOf(row.key, query.prefix, query.delimiter);
      // The scan can't see a delimiter behind a NUL, and gives every key under that common prefix.
      if (row.is_delete_marker || (commonPrefix !== undefined && shown === commonPrefix)) continue;
      if (page.entries.length === query.limit) return { ...page, next: shown };
      page.entries.push(commonPrefix === undefined ? fromRow(row) : { commonPrefix });
      shown = commonPrefix ?? row.key;
    }
    // The scan's last key always comes back: if neither that nor the limit cut it, it came to the end.
    if (last === undefined || (last.n < STEP && rows.length < wanted)) return { entries: page.entries };
    const commonPrefix = commonPrefixOf(last.key, query.prefix, query.delimiter);
    const isBehind = commonPrefix !== undefined && !last.is_delete_marker;
    bounds = isBehind ? boundsBehind(commonPrefix, query.prefix) : boundsAfter(last.key, query.prefix);
    examined += last.n;
    // As a marker, a delete marker whose key is a common prefix would pass over what is under it: one step more.
    page.next = isBehind ? commonPrefix : last.key;
    if (examined >= MAX_EXAMINED && (isBehind || commonPrefix !== last.key)) return page;
  }
}

async function scanObjects(
  env: IndexEnv,
  bucketId: number,
  query: ListQuery,
  { from, isInclusive, to }: Bounds,
  wanted: number,
): Promise<ScannedRow[]> {
  const statement = env.INDEX.prepare(
    `${scan(isInclusive, `s.found ->> ${IS_DELETE_MARKER} = 0`)}
     SELECT found, n FROM g WHERE found ->> ${IS_DELETE_MARKER} = 0 OR n = ?6 LIMIT ?8`,
  );
  const binds = [bucketId, from, to ?? null, ...groupBinds(query), STEP, delimiterSuccessor(query), wanted];
  return await readIn(env, bucketId, statement.bind(...binds));
}

/** Rows of a statement, in one trip with the look whether there is such a bucket. Throws NoSuchBucket. */
async function readIn(env: IndexEnv, bucketId: number, statement: D1PreparedStatement): Promise<ScannedRow[]> {
  const [bucket, rows] = await env.INDEX.batch([lookForBucket(env, bucketId), statement]);
  if (bucket!.results.length === 0) throw new S3Error("NoSuchBucket");
  return (rows!.results as { found: string; n: number }[]).map(({ found, n }) => {
    return { ...unpackRow(bucketId, JSON.parse(found)), n };
  });
}

/** Characters of the prefix as SQLite counts them (code points), and the delimiter. */
function groupBinds({ prefix, delimiter }: ListQuery): [number, string] {
  return [Array.from(prefix).length, delimiter];
}

function delimiterSuccessor({ delimiter }: ListQuery): string {
  if (delimiter === "") return "";
  const beyond = successor(delimiter);
  if (beyond === undefined) throw new S3Error("InvalidArgument", "The delimiter is not supported.");
  return beyond;
}

/**
 * All versions and delete markers: keys in UTF-8 binary order, within a key newest first. With `versionIdMarker` (as
 * shown) the versions of the key `after` that are older than that one come first.
 * Throws NoSuchBucket; InvalidArgument for the version id marker `null` where there is no null version.
 */
export async function listVersions(
  env: IndexEnv,
  bucketId: number,
  query: ListQuery & { versionIdMarker?: string },
): Promise<ListPage<ListedVersion> & { nextVersionIdMarker?: string }> {
  const rows = await rowsOfKey(env, bucketId, query);
  if (rows.length <= query.limit)
    rows.push(...(await scanVersions(env, bucketId, query, query.limit + 1 - rows.length)));
  const entries: (ListedVersion | { commonPrefix: string })[] = [];
  let position: Pick<Awaited<ReturnType<typeof listVersions>>, "next" | "nextVersionIdMarker"> = {};
  let previousKey = query.versionIdMarker === undefined ? undefined : query.after;
  for (const row of rows.slice(0, query.limit)) {
    const commonPrefix = commonPrefixOf(row.key, query.prefix, query.delimiter);
    if (commonPrefix === undefined) {
      entries.push({ ...fromRow(row), isLatest: row.key !== previousKey });
      // Never `null`: another null version may stand there when the next page is asked for, or none.
      position = { next: row.key, nextVersionIdMarker: row.version_id };
    } else if (position.next !== commonPrefix) {
      entries.push({ commonPrefix });
      position = { next: commonPrefix };
    }
    previousKey = row.key;
  }
  return rows.length > query.limit ? { entries, ...position } : { entries };
}

/** Versions of the key marker itself that are older than the version id marker. */
async function rowsOfKey(
  env: IndexEnv,
  bucketId: number,
  { after, versionIdMarker, prefix, limit }: ListQuery & { versionIdMarker?: string },
): Promise<ScannedRow[]> {
  if (versionIdMarker === undefined || after === undefined || !after.startsWith(prefix)) return [];
  if (versionIdMarker === "null") await getBucket(env, bucketId);
  const [marker] =
    versionIdMarker === "null" ? await readVersions(env, bucketId, [{ key: after, versionId: "null" }]) : [];
  if (versionIdMarker === "null" && !marker) {
    throw invalidArgument("version-id-marker", versionIdMarker, "Invalid version id specified");
  }
  const statement = env.INDEX.prepare(
    `SELECT ${packedRow("v")} AS found, 0 AS n FROM versions v
     WHERE v.bucket_id = ?1 AND v.key = ?2 AND v.version_id < ?3 ORDER BY v.version_id DESC LIMIT ?4`,
  );
  const binds = [bucketId, after, marker?.versionId ?? versionIdMarker, limit + 1];
  return await readIn(env, bucketId, statement.bind(...binds));
}

async function scanVersions(env: IndexEnv, bucketId: number, query: ListQuery, wanted: number): Promise<ScannedRow[]> {
  const { from, isInclusive, to } = boundsOf(query);
  const statement = env.INDEX.prepare(
    `${scan(isInclusive, "true")}
     SELECT ${packedRow("v")} AS found, g.n FROM g CROSS JOIN versions v
     WHERE v.bucket_id = ?1 AND v.key = g.found ->> 0 AND (g.common_prefix IS NULL OR v.version_id = g.found ->> 1)
     LIMIT ?8`,
  );
  const binds = [bucketId, from, to ?? null, ...groupBinds(query), wanted, delimiterSuccessor(query), wanted];
  return await readIn(env, bucketId, statement.bind(...binds));
}
