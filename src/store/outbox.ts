/**
 * What is still to travel, and what came of it. State lives in these rows; the queue is only a wake-up, and the sweep
 * the guarantee.
 */

import { millisecondsOf } from "./clock.ts";
import type { Link } from "./links.ts";
import { fromRow, type Version, type VersionRow } from "./versions.ts";

type IndexEnv = Pick<Env, "INDEX">;

/** A version on its way along one link. */
export interface Task {
  key: string;
  versionId: string;
  /** clock id of the last edit that is sent along */
  change: string;
  attempts: number;
  /** undefined: it was removed at the source before it was sent */
  version: Version | undefined;
  /** base64 of an inline body */
  inline: string | null;
}

interface TaskRow extends Partial<VersionRow> {
  task_key: string;
  task_version_id: string;
  change: string;
  attempts: number;
  body: string | null;
}

/** Tasks of a link and slot that are due, oldest first. */
export async function listDue(env: IndexEnv, link: Link, slot: number, limit: number): Promise<Task[]> {
  const { results } = await env.INDEX.prepare(
    `SELECT o.key AS task_key, o.version_id AS task_version_id, o.change, o.attempts, i.body, v.*
     FROM outbox o
       LEFT JOIN versions v ON v.bucket_id = ?4 AND v.key = o.key AND v.version_id = o.version_id
       LEFT JOIN inline_bodies i ON i.bucket_id = ?4 AND i.key = o.key AND i.version_id = o.version_id
     WHERE o.link_id = ?1 AND o.slot = ?2 AND o.next_attempt_at <= ?3 ORDER BY o.version_id, o.key LIMIT ?5`,
  )
    .bind(link.linkId, slot, Date.now(), link.bucketId, limit)
    .all<TaskRow>();
  return results.map((row) => ({
    key: row.task_key,
    versionId: row.task_version_id,
    change: row.change,
    attempts: row.attempts,
    version: row.bucket_id ? fromRow(row as VersionRow) : undefined,
    inline: row.body,
  }));
}

/** What came of a task that was sent. */
export type Result =
  /** the destination's receipt */
  | { task: Task; arrived: true }
  /** it will be tried again, not before `nextAttemptAt` (milliseconds) */
  | { task: Task; retry: { error: string; nextAttemptAt: number } }
  /** somebody must mend it */
  | { task: Task; failed: { reason: string; cause: string } };

/**
 * Writes what came of tasks, in one transaction: a receipt removes exactly the row that it answers, only where `change`
 * is still what was sent; a task whose version is gone just ends. A failure's `cause` names what it rests on.
 */
export async function recordResults(env: IndexEnv, link: Link, slot: number, results: Result[]): Promise<void> {
  const now = Date.now();
  const arrived = results.flatMap((result) => ("arrived" in result ? [result.task] : []));
  const ended = arrived.map(named);
  const failed = results.flatMap((result) =>
    "failed" in result ? [{ ...named(result.task), ...result.failed, attempts: result.task.attempts + 1 }] : [],
  );
  const retried = Map.groupBy(
    results.filter((result) => "retry" in result),
    ({ retry }) => JSON.stringify(retry),
  );
  const statements: D1PreparedStatement[] = [];
  if (failed.length > 0) {
    statements.push(
      env.INDEX.prepare(
        `INSERT INTO failed (link_id, slot, version_id, key, change, attempts, reason, cause, failed_at)
         SELECT o.link_id, o.slot, o.version_id, o.key, o.change, r.value ->> 'attempts', r.value ->> 'reason', r.value ->> 'cause', ?4
         FROM json_each(?3) r CROSS JOIN outbox o WHERE ${IS_SENT}
         ON CONFLICT DO UPDATE SET change = excluded.change, attempts = excluded.attempts, reason = excluded.reason,
           cause = excluded.cause, failed_at = excluded.failed_at`,
      ).bind(link.linkId, slot, JSON.stringify(failed), now),
    );
  }
  if (arrived.length > 0) statements.push(sumArrivals(env, link, slot, arrived, now));
  if (ended.length + failed.length > 0) {
    statements.push(
      env.INDEX.prepare(
        `DELETE FROM outbox WHERE link_id = ?1 AND slot = ?2 AND (version_id, key) IN
           (SELECT o.version_id, o.key FROM json_each(?3) r CROSS JOIN outbox o WHERE ${IS_SENT})`,
      ).bind(link.linkId, slot, JSON.stringify([...ended, ...failed])),
    );
  }
  for (const group of retried.values()) {
    const { error, nextAttemptAt } = group[0]!.retry;
    statements.push(
      env.INDEX.prepare(
        `UPDATE outbox SET attempts = attempts + 1, next_attempt_at = ?4, last_error = ?5
         WHERE link_id = ?1 AND slot = ?2 AND (version_id, key) IN
           (SELECT o.version_id, o.key FROM json_each(?3) r CROSS JOIN outbox o WHERE ${IS_SENT})`,
      ).bind(link.linkId, slot, JSON.stringify(group.map(({ task }) => named(task))), nextAttemptAt, error),
    );
  }
  if (statements.length > 0) await env.INDEX.batch(statements);
}

const IS_SENT = `o.link_id = ?1 AND o.slot = ?2 AND o.version_id = r.value ->> 'versionId' AND o.key = r.value ->> 'key'
  AND o.change = r.value ->> 'change'`;

function named({ key, versionId, change }: Task): Pick<Task, "key" | "versionId" | "change"> {
  return { key, versionId, change };
}

/**
 * Adds arrivals to the link's minute: count, bytes, and how many took up to 1, 2, 4, ... milliseconds. Counted are rows
 * that are still there: of two drains at once only one receipt counts. So it goes before their removal.
 */
function sumArrivals(env: IndexEnv, link: Link, slot: number, arrived: Task[], now: number): D1PreparedStatement {
  const rows = arrived.flatMap((task) => {
    if (!task.version) return [];
    const lag = 2 ** Math.ceil(Math.log2(Math.max(now - millisecondsOf(task.change), 1)));
    return [{ ...named(task), size: task.version.size, lag }];
  });
  return env.INDEX.prepare(
    `WITH a AS (SELECT r.value ->> 'size' AS size, r.value ->> 'lag' AS lag FROM json_each(?3) r CROSS JOIN outbox o WHERE ${IS_SENT})
     INSERT INTO link_minutes (link_id, minute, count, bytes, lag)
     SELECT ?1, ?4, count(*), sum(size),
       (SELECT json_group_object(lag, n) FROM (SELECT lag, count(*) AS n FROM a GROUP BY lag)) FROM a HAVING count(*) > 0
     ON CONFLICT DO UPDATE SET count = count + excluded.count, bytes = bytes + excluded.bytes, lag = (
       SELECT json_group_object(key, n) FROM (
         SELECT x.key, sum(x.value) AS n
         FROM (SELECT key, value FROM json_each(link_minutes.lag)
           UNION ALL SELECT key, value FROM json_each(excluded.lag)) x
         GROUP BY x.key))`,
  ).bind(link.linkId, slot, JSON.stringify(rows), Math.floor(now / 60_000));
}

/** No probe is put off for this long: such a time was written by a clock that has been set back since. */
const FAR_MS = 60_000;

/** Where tasks are due, on links that may be tried now: at most `limit` pairs of link and slot. */
export async function listWakeable(env: IndexEnv, limit: number): Promise<{ linkId: number; slot: number }[]> {
  const { results } = await env.INDEX.prepare(
    `WITH RECURSIVE slots (slot) AS (SELECT 0 UNION ALL SELECT slot + 1 FROM slots WHERE slot < (SELECT max(slots) FROM buckets) - 1)
     SELECT l.link_id AS linkId, s.slot FROM links l JOIN buckets b ON b.bucket_id = l.bucket_id JOIN slots s ON s.slot < b.slots
     WHERE l.state = 'active' AND coalesce(l.next_probe_at, 0) NOT BETWEEN ?1 + 1 AND ?1 + ${FAR_MS}
       AND EXISTS (SELECT 1 FROM outbox o WHERE o.link_id = l.link_id AND o.slot = s.slot AND o.next_attempt_at <= ?1)
     LIMIT ?2`,
  )
    .bind(Date.now(), limit)
    .all<{ linkId: number; slot: number }>();
  return results;
}

/** Tasks put back at once. */
const REQUEUE_STEP = 1000;

/**
 * Puts failed tasks of a link whose cause isn't so any more back to be sent, a step of them. `destination` undefined: it
 * can't be asked, and what rests on it stays. True if there may be more.
 */
export async function requeueFailed(
  env: IndexEnv,
  link: Link,
  causes: { role: string; destination: string | undefined },
): Promise<boolean> {
  const mended = `SELECT slot, version_id, key FROM failed WHERE link_id = ?1 AND (
      cause LIKE 'role %' AND cause <> ?2 OR cause LIKE 'destination %' AND ?3 IS NOT NULL AND cause <> ?3)
    ORDER BY slot, version_id, key LIMIT ${REQUEUE_STEP}`;
  const binds = [link.linkId, causes.role, causes.destination ?? null];
  const [, removed] = await env.INDEX.batch([
    env.INDEX.prepare(
      `INSERT INTO outbox (link_id, slot, version_id, key, change, last_error)
       SELECT link_id, slot, version_id, key, change, reason FROM failed
       WHERE link_id = ?1 AND (slot, version_id, key) IN (${mended}) ON CONFLICT DO NOTHING`,
    ).bind(...binds),
    env.INDEX.prepare(`DELETE FROM failed WHERE link_id = ?1 AND (slot, version_id, key) IN (${mended})`).bind(
      ...binds,
    ),
  ]);
  return removed!.meta.changes >= REQUEUE_STEP;
}

/** Links that have failed tasks: `limit` of them, others each time. */
export async function listFailedLinks(env: IndexEnv, limit: number): Promise<number[]> {
  const { results } = await env.INDEX.prepare(
    `SELECT link_id FROM links l WHERE state = 'active' AND EXISTS (SELECT 1 FROM failed f WHERE f.link_id = l.link_id)
     ORDER BY random() LIMIT ?1`,
  )
    .bind(limit)
    .all<{ link_id: number }>();
  return results.map((row) => row.link_id);
}
