/**
 * How a repeated operation finds that it was done.
 *
 * A commit whose Sequencer died, or can't be reached any more, is sent again under the same request id. A version keeps
 * the request that wrote it, and those of the last changes of its tags; a removed one is remembered with its own.
 */
import { floorOf } from "./clock.ts";
import type { Operation } from "./decide.ts";
import { fromRow, type Version, type VersionRow } from "./versions.ts";

type IndexEnv = Pick<Env, "INDEX">;

/** A repeat looks for its own write among versions of this age. */
const REPEAT_MS = 10 * 60 * 1000;

/** A repeated commit looks for its own write among ids from here on. */
export function repeatFloor(): string {
  return floorOf(Date.now() - REPEAT_MS);
}

export interface Done {
  /** what requests have written or changed */
  versions: Map<string, Version>;
  /** requests whose version was removed again */
  removed: Set<string>;
}

/** What has been done of repeated operations, by request id. */
export async function findDone(env: IndexEnv, bucketId: number, repeats: Operation[]): Promise<Done> {
  const writes = repeats.map(({ key, requestId }) => ({ key, requestId }));
  const edits = repeats.flatMap((operation) => (operation.kind === "edit" ? [operation] : []));
  const [written, removed, edited] = await Promise.all([
    readWritten(env, bucketId, repeatFloor(), writes),
    readRemovedWrites(env, bucketId, repeatFloor(), writes),
    edits.length > 0 ? readEdited(env, bucketId, edits) : [],
  ]);
  const byRequest = written.map((version) => [version.requestId, version] as const);
  return { versions: new Map([...byRequest, ...edited]), removed };
}

/** Versions of keys that given requests wrote, not older than `since` (a version id): how a repeated commit finds that it was done. */
async function readWritten(
  env: IndexEnv,
  bucketId: number,
  since: string,
  writes: { key: string; requestId: string }[],
): Promise<Version[]> {
  const { results } = await env.INDEX.prepare(
    `SELECT v.* FROM json_each(?3) r CROSS JOIN versions v
     WHERE v.bucket_id = ?1 AND v.key = r.value ->> 'key' AND v.version_id >= ?2 AND v.request_id = r.value ->> 'requestId'`,
  )
    .bind(bucketId, since, JSON.stringify(writes))
    .all<VersionRow>();
  return results.map(fromRow);
}

/** Versions a key of which an edit of the current one may have met since it was first sent. */
const EDITED = 100;

/** Versions whose tags given requests have changed, by request: how a repeated edit finds that it was done. */
async function readEdited(
  env: IndexEnv,
  bucketId: number,
  edits: { key: string; versionId?: string; requestId: string }[],
): Promise<Map<string, Version>> {
  const { results } = await env.INDEX.prepare(
    `SELECT r.value ->> 'requestId' AS edit, v.* FROM json_each(?2) r CROSS JOIN versions v
     WHERE v.bucket_id = ?1 AND v.key = r.value ->> 'key'
       AND v.version_id IN (SELECT coalesce(nullif(r.value ->> 'versionId', 'null'), w.version_id) FROM versions w
         WHERE w.bucket_id = ?1 AND w.key = r.value ->> 'key' ORDER BY w.version_id DESC LIMIT ${EDITED})
       AND EXISTS (SELECT 1 FROM json_each(v.tags_requests) e WHERE e.value = r.value ->> 'requestId')`,
  )
    .bind(bucketId, JSON.stringify(edits))
    .all<VersionRow & { edit: string }>();
  return new Map(results.map((row) => [row.edit, fromRow(row)]));
}

/** Of given requests those that wrote a version which is removed by now; not older than `since`. */
async function readRemovedWrites(
  env: IndexEnv,
  bucketId: number,
  since: string,
  writes: { key: string; requestId: string }[],
): Promise<Set<string>> {
  const { results } = await env.INDEX.prepare(
    `SELECT x.request_id FROM json_each(?3) r CROSS JOIN removed x
     WHERE x.bucket_id = ?1 AND x.key = r.value ->> 'key' AND x.version_id >= ?2 AND x.request_id = r.value ->> 'requestId'`,
  )
    .bind(bucketId, since, JSON.stringify(writes))
    .all<{ request_id: string }>();
  return new Set(results.map((row) => row.request_id));
}
