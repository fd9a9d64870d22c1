/**
 * Statements that change tags of a version that is there. Bucket is ?1 in each. Pure.
 *
 * An edit guards itself as inserts do: the bucket is as it was decided on, the tags' clock is the one that was read, and
 * an edit of the current version falls if another version has become that. Then the version is to travel again, by links
 * that are still there. A replica's tags are taken where they are of a later change than those here.
 */
import type { Edit } from "./decide.ts";
import { toRow, type Version } from "./versions.ts";

/** SQL and the parameters behind the bucket's. */
export type Sql = [sql: string, ...binds: unknown[]];

/** The first one changes the version and names it in its answer. */
export function editStatements(
  { version, before, isOfCurrent }: Edit,
  slot: number,
  revision: number,
): [Sql, ...Sql[]] {
  const { key, version_id, tags, tags_change, tags_requests, digest } = toRow(version);
  const isCurrent = "NOT EXISTS (SELECT 1 FROM versions n WHERE n.bucket_id = ?1 AND n.key = ?2 AND n.version_id > ?3)";
  const change: Sql = [
    `UPDATE versions SET tags = ?4, tags_change = ?5, digest = ?6, tags_requests = ?9
     WHERE bucket_id = ?1 AND key = ?2 AND version_id = ?3 AND coalesce(tags_change, version_id) = ?7
       AND EXISTS (SELECT 1 FROM buckets WHERE bucket_id = ?1 AND state = 'active' AND revision = ?8)
       ${isOfCurrent ? `AND ${isCurrent}` : ""}
     RETURNING key, version_id`,
    ...[key, version_id, tags, tags_change, digest, before, revision, tags_requests],
  ];
  if (version.bound.length === 0) return [change];
  const links = `FROM versions v CROSS JOIN json_each(v.bound) l CROSS JOIN links k
    WHERE v.bucket_id = ?1 AND v.key = ?2 AND v.version_id = ?3 AND v.tags_change = ?4
      AND k.link_id = l.value AND k.state <> 'removed'`;
  const binds = [key, version_id, tags_change, slot];
  const send: Sql = [
    `INSERT INTO outbox (link_id, slot, version_id, key, change)
     SELECT l.value, ?5, v.version_id, v.key, v.tags_change ${links}
     ON CONFLICT DO UPDATE SET change = excluded.change, attempts = 0, next_attempt_at = 0, last_error = NULL`,
    ...binds,
  ];
  const forgive: Sql = [
    `DELETE FROM failed WHERE slot = ?5 AND version_id = ?3 AND key = ?2 AND link_id IN (SELECT l.value ${links})`,
    ...binds,
  ];
  return [change, send, forgive];
}

export function mergeStatement(version: Version): Sql {
  const { key, version_id, tags, tags_change, digest, size, etag } = toRow(version);
  return [
    `UPDATE versions SET tags = ?4, tags_change = ?5, digest = ?6
     WHERE bucket_id = ?1 AND key = ?2 AND version_id = ?3 AND coalesce(tags_change, version_id) < ?5
       AND size = ?7 AND etag = ?8 AND EXISTS (SELECT 1 FROM buckets WHERE bucket_id = ?1 AND state = 'active')`,
    ...[key, version_id, tags, tags_change, digest, size, etag],
  ];
}
