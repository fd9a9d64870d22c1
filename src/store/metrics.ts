/**
 * What a zone's database knows of one organization's buckets, in numbers: how replication stands, and open uploads.
 *
 * It is asked for every few seconds, and D1 does one thing at a time; so what it reads has bounds. A backlog is counted
 * up to a cap, shared by all that is counted, and what was cut short says so. Rows read at most: one for each bucket of
 * the zone, 4 x COUNTED, and for each of MAX_PLACES links one a slot and its rows of `link_minutes`, which `foldMinutes`
 * keeps to some 400 and one a day. Objects and bytes of a bucket would take a row each version: not here.
 */
import { millisecondsOf } from "./clock.ts";

type IndexEnv = Pick<Env, "INDEX">;

/** A link and what became of the versions that are bound by it. */
export interface LinkMetrics {
  bucket: string;
  ruleId: string;
  destination: string;
  /** undefined for one that isn't in the bucket's configuration any more */
  isUp: boolean | undefined;
  /** `oldest`: milliseconds of the write, or change, that waits longest; undefined where none does */
  pending: { operations: number; bytes: number; oldest: number | undefined; isCapped: boolean };
  failed: { byReason: Record<string, number>; isCapped: boolean };
  /** `lag`: operations by the upper bound of the time they took, in milliseconds; a power of two */
  completed: { bytes: number; lag: Record<string, number> };
}

export interface OrganizationMetrics {
  links: LinkMetrics[];
  uploads: { bucket: string; open: number; isCapped: boolean }[];
  /** true: there are more links and buckets than are told of */
  isTruncated: boolean;
  /** bytes of the zone's database, everybody's */
  databaseBytes: number;
  /** rows that all this took to know, by D1's own count */
  rowsRead: number;
}

/** Links, and buckets without one, that are told of. */
const MAX_PLACES = 200;
/** Rows of a table that are counted, those of all places together. */
const COUNTED = 50_000;
/** Why what is still to travel by a link that was removed is FAILED. */
const RULE_GONE = "SrcBucketReplicationConfigMissing";

interface Place {
  bucket_id: number;
  name: string;
  slots: number;
  link_id: number | null;
  rule_id: string;
  destination_name: string;
  state: "active" | "paused" | "removed";
  down_since: number | null;
}

type LinkPlace = Place & { link_id: number };

interface Backlog {
  link_id: number;
  operations: number;
  bytes: number;
  oldest: string | null;
  is_capped: number;
}

interface Failures {
  link_id: number;
  /** JSON */
  by_reason: string;
  is_capped: number;
}

interface Completions {
  link_id: number;
  bytes: number;
  /** JSON */
  lag: string;
}

interface Uploads {
  bucket_id: number;
  open: number;
  is_capped: number;
}

/** Two trips to INDEX. */
export async function measureOrganization(env: IndexEnv, organizationId: string): Promise<OrganizationMetrics> {
  const { results: places, meta } = await listPlaces(env, organizationId);
  const links = places.filter((place): place is LinkPlace => place.link_id !== null);
  const buckets = new Map(places.map(({ bucket_id, name }) => [bucket_id, name]));
  const measured = await env.INDEX.batch([
    countBacklogs(env, links),
    countFailures(env, links),
    sumCompletions(env, links),
    countUploads(env, [...buckets.keys()]),
  ]);
  const [backlogs, failures, completions, uploads] = measured.map(({ results }) => results);
  const [backlogOf, failuresOf, completionsOf] = [
    byLink(backlogs as Backlog[]),
    byLink(failures as Failures[]),
    byLink(completions as Completions[]),
  ];
  return {
    links: links.map((link) => toMetrics(link, backlogOf(link), failuresOf(link), completionsOf(link))),
    uploads: (uploads as Uploads[]).map(({ bucket_id, open, is_capped }) => {
      return { bucket: buckets.get(bucket_id)!, open, isCapped: is_capped === 1 };
    }),
    isTruncated: places.length === MAX_PLACES,
    databaseBytes: meta.size_after,
    rowsRead: measured.reduce((sum, each) => sum + each.meta.rows_read, meta.rows_read),
  };
}

function byLink<T extends { link_id: number }>(rows: T[]): (link: LinkPlace) => T {
  const found = new Map(rows.map((row) => [row.link_id, row]));
  return ({ link_id }) => found.get(link_id)!;
}

/** Rows that each of so many places may have counted. */
function capFor(places: number): number {
  return Math.ceil(COUNTED / Math.max(places, 1));
}

function toMetrics(link: LinkPlace, backlog: Backlog, failures: Failures, completions: Completions): LinkMetrics {
  const { operations, bytes, oldest } = backlog;
  const byReason: Record<string, number> = JSON.parse(failures.by_reason);
  const [isBacklogCapped, isFailedCapped] = [backlog.is_capped === 1, failures.is_capped === 1];
  const isRemoved = link.state === "removed";
  if (isRemoved && operations > 0) byReason[RULE_GONE] = operations;
  return {
    bucket: link.name,
    ruleId: link.rule_id,
    destination: link.destination_name,
    isUp: isRemoved ? undefined : link.down_since === null,
    pending: isRemoved
      ? { operations: 0, bytes: 0, oldest: undefined, isCapped: false }
      : {
          operations,
          bytes,
          oldest: oldest === null ? undefined : millisecondsOf(oldest),
          isCapped: isBacklogCapped,
        },
    failed: { byReason, isCapped: isFailedCapped || (isRemoved && isBacklogCapped) },
    completed: { bytes: completions.bytes, lag: JSON.parse(completions.lag) },
  };
}

/** An organization's buckets in this zone with their links; a bucket that has none stands once. */
async function listPlaces(env: IndexEnv, organizationId: string): Promise<D1Result<Place>> {
  return await env.INDEX.prepare(
    `SELECT b.bucket_id, b.name, b.slots, l.link_id, l.rule_id, l.destination_name, l.state, l.down_since
     FROM buckets b LEFT JOIN links l ON l.bucket_id = b.bucket_id
     WHERE b.organization_id = ?1 AND b.state = 'active' ORDER BY b.bucket_id, l.link_id LIMIT ?2`,
  )
    .bind(organizationId, MAX_PLACES)
    .all<Place>();
}

/**
 * Slot by slot, each up to the cap. The oldest is exact but where more rows than that wait and the first of them were
 * changed since: rows stand in the order of their versions.
 */
function countBacklogs(env: IndexEnv, links: LinkPlace[]): D1PreparedStatement {
  const wanted = links.map(({ link_id, bucket_id, slots }) => ({ linkId: link_id, bucketId: bucket_id, slots }));
  const slots = wanted.reduce((sum, each) => sum + each.slots, 0);
  return env.INDEX.prepare(
    `WITH RECURSIVE slots (slot) AS (SELECT 0 UNION ALL SELECT slot + 1 FROM slots WHERE slot < ?3 - 1),
     counted AS MATERIALIZED (
       SELECT r.value ->> 'linkId' AS link_id, (
         SELECT json_array(count(*), coalesce(sum(size), 0), min(change)) FROM (
           SELECT o.change, v.size FROM outbox o
             LEFT JOIN versions v ON v.bucket_id = r.value ->> 'bucketId' AND v.key = o.key AND v.version_id = o.version_id
           WHERE o.link_id = r.value ->> 'linkId' AND o.slot = s.slot
           ORDER BY o.version_id, o.key LIMIT ?2)) AS backlog
       FROM json_each(?1) r CROSS JOIN slots s WHERE s.slot < r.value ->> 'slots')
     SELECT link_id, sum(backlog ->> 0) AS operations, sum(backlog ->> 1) AS bytes, min(backlog ->> 2) AS oldest,
       max(backlog ->> 0 = ?2) AS is_capped
     FROM counted GROUP BY link_id`,
  ).bind(JSON.stringify(wanted), capFor(slots), Math.max(...wanted.map((each) => each.slots), 1));
}

function countFailures(env: IndexEnv, links: LinkPlace[]): D1PreparedStatement {
  return env.INDEX.prepare(
    `WITH counted AS MATERIALIZED (
       SELECT r.value AS link_id, (SELECT json_group_object(reason, n) FROM (
         SELECT reason, count(*) AS n FROM (SELECT reason FROM failed f WHERE f.link_id = r.value LIMIT ?2) GROUP BY reason
       )) AS by_reason
       FROM json_each(?1) r)
     SELECT link_id, by_reason, (SELECT coalesce(sum(value), 0) FROM json_each(by_reason)) = ?2 AS is_capped FROM counted`,
  ).bind(idsOf(links), capFor(links.length));
}

function sumCompletions(env: IndexEnv, links: LinkPlace[]): D1PreparedStatement {
  return env.INDEX.prepare(
    `WITH minutes AS MATERIALIZED (
       SELECT m.link_id, m.bytes, m.lag FROM json_each(?1) r CROSS JOIN link_minutes m WHERE m.link_id = r.value),
     lags AS MATERIALIZED (
       SELECT m.link_id, e.key, sum(e.value) AS n FROM minutes m CROSS JOIN json_each(m.lag) e GROUP BY m.link_id, e.key)
     SELECT r.value AS link_id, (SELECT coalesce(sum(m.bytes), 0) FROM minutes m WHERE m.link_id = r.value) AS bytes,
       (SELECT json_group_object(l.key, l.n) FROM lags l WHERE l.link_id = r.value) AS lag
     FROM json_each(?1) r`,
  ).bind(idsOf(links));
}

/** Those that were completed lately stand among the open ones, and take up the cap. */
function countUploads(env: IndexEnv, bucketIds: number[]): D1PreparedStatement {
  return env.INDEX.prepare(
    `WITH counted AS MATERIALIZED (
       SELECT r.value AS bucket_id, (
         SELECT json_array(count(*), coalesce(sum(state = 'open'), 0))
         FROM (SELECT state FROM uploads u WHERE u.bucket_id = r.value LIMIT ?2)) AS uploads
       FROM json_each(?1) r)
     SELECT bucket_id, uploads ->> 1 AS open, uploads ->> 0 = ?2 AS is_capped FROM counted`,
  ).bind(JSON.stringify(bucketIds), capFor(bucketIds.length));
}

function idsOf(links: LinkPlace[]): string {
  return JSON.stringify(links.map(({ link_id }) => link_id));
}

const HOUR = 60;
const DAY = 24 * HOUR;
/** Minutes older than three hours become hours, hours older than a week days. */
const FOLDS = [
  { step: HOUR, after: 3 * HOUR },
  { step: DAY, after: 7 * DAY },
];

/**
 * Sums what is old in `link_minutes` into one row an hour, and later one a day, under its first minute. Totals stay what
 * they are. Gives how many rows less there are. `now`: milliseconds.
 */
export async function foldMinutes(env: IndexEnv, now: number): Promise<number> {
  const statements = FOLDS.flatMap(({ step, after }) => {
    const end = Math.floor((now / 60_000 - after) / step) * step;
    // Not bound: D1 binds every number as a REAL, and 61 / 60.0 * 60.0 is 61.
    const first = (minute: string) => `${minute} / ${step} * ${step}`;
    return [
      env.INDEX.prepare(
        `INSERT OR REPLACE INTO link_minutes (link_id, minute, count, bytes, lag)
         SELECT link_id, ${first("minute")} AS start, sum(count), sum(bytes), (
           SELECT json_group_object(key, n) FROM (
             SELECT e.key, sum(e.value) AS n FROM link_minutes x CROSS JOIN json_each(x.lag) e
             WHERE x.link_id = m.link_id AND x.minute >= ${first("m.minute")} AND x.minute < ${first("m.minute")} + ${step}
             GROUP BY e.key))
         FROM link_minutes m WHERE minute < ?1 GROUP BY link_id, start HAVING max(minute) > start`,
      ).bind(end),
      env.INDEX.prepare(`DELETE FROM link_minutes WHERE minute < ?1 AND minute % ${step} <> 0`).bind(end),
    ];
  });
  const results = await env.INDEX.batch(statements);
  // An INSERT OR REPLACE may count what it replaced: only what the removals did is told.
  return results.reduce((sum, { meta }, i) => sum + (i % 2 === 1 ? meta.changes : 0), 0);
}
