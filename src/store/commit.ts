/**
 * The one batch that a group of operations is written in: versions, bodies, outbox rows, removals and garbage, all or
 * nothing.
 *
 * Each statement guards itself, so that a second instance of a slot, or a stale cache, can corrupt nothing:
 *  (a) a local version is inserted only where the bucket is active and at the revision that it was decided with,
 *  (b) only where no version of its key has a greater or equal id, nor had one that is removed by now,
 *  (c) if it was decided on the key's state: only where the key's greatest id is still that base,
 *  (d) only while this instance of the Sequencer is the one inside the slot's fence (fence.ts).
 * A statement sees the state before it, so rows of one key that carry one base pass or fall together. Later statements
 * apply only where the version's row is there. What is absent from RETURNING is read again and decided again. A repeated
 * row is inserted only where the first try has left no version of the same request.
 */
import type { Bucket } from "./buckets.ts";
import type { Completion, Edit, Insert, Plan, Removal } from "./decide.ts";
import { editStatements, mergeStatement } from "./edits.ts";
import { enter, type Fence, insideBinds, isInside, isOutside, type Slot } from "./fence.ts";
import { repeatFloor } from "./repeats.ts";
import { toRow, VERSION_COLUMNS } from "./versions.ts";

/** The first try of a repeated row has left a version of the same request in a table. Its age is bounded by ?4. */
function isWrittenIn(table: "versions" | "removed"): string {
  return `EXISTS (SELECT 1 FROM ${table} w WHERE w.bucket_id = (?1 + 0) AND w.key = r.value ->> 'key'
    AND w.version_id >= (?4 || '') AND w.request_id = r.value ->> 'request_id')`;
}

/** How long a replaced body stays: a GET may still be streaming it. */
const GARBAGE_DELAY_MS = 24 * 60 * 60 * 1000;

const INSERT_COLUMNS = `bucket_id, ${VERSION_COLUMNS.join(", ")}`;
const SELECT_COLUMNS = `?1, ${VERSION_COLUMNS.map((column) => `r.value ->> '${column}'`).join(", ")}`;

// Here and below, parameters as expressions (`?1 + 0`) where the planner would look at them: SQLite plans a statement
// anew when such a one is bound to another value, which took a tenth of a PUT.
const GREATEST = `(SELECT v.version_id FROM versions v WHERE v.bucket_id = (?1 + 0) AND v.key = r.value ->> 'key'
  ORDER BY v.version_id DESC LIMIT 1)`;

/** What landed, by `nameOf`. */
export interface Committed {
  inserted: Set<string>;
  removed: Set<string>;
  edited: Set<string>;
  /** this instance has come inside the fence */
  hasEntered: boolean;
  /** the bucket was active and at the revision of the decision: what found nothing to remove rests on that alone */
  isCurrent: boolean;
}

const NOTHING_DONE: Committed = {
  inserted: new Set(),
  removed: new Set(),
  edited: new Set(),
  hasEntered: false,
  isCurrent: true,
};

/** Names a version within its bucket. */
export function nameOf(version: { key: string; versionId: string }): string {
  return `${version.versionId}/${version.key}`;
}

/** Writes a plan. Throws what D1 throws: then nothing was written, or all was and the answer got lost. */
export async function commitPlan(
  env: Pick<Env, "INDEX">,
  place: Slot,
  { bucket, fence }: { bucket: Bucket; fence: Fence },
  plan: Plan,
): Promise<Committed> {
  const committer = new Committer(env.INDEX, place, bucket, fence);
  const arrivals = [...plan.inserts, ...plan.merges];
  committer.insertLocal(plan.inserts);
  committer.insertReplicas(plan.merges);
  committer.insertBodies(arrivals);
  committer.insertOutbox(plan.inserts);
  committer.replaceNulls(plan.inserts);
  committer.remove(plan.removals);
  committer.edit(plan.edits);
  committer.mergeTags(plan.merges);
  return await committer.run();
}

interface Named {
  key: string;
  version_id: string;
}

class Committer {
  readonly #index: D1Database;
  readonly #place: Slot;
  readonly #bucket: Bucket;
  readonly #fence: Fence;
  readonly #statements: D1PreparedStatement[] = [];
  readonly #inserting: number[] = [];
  #entering: number | undefined;
  #removing: number | undefined;
  #looking: number | undefined;
  readonly #editing: number[] = [];

  constructor(index: D1Database, place: Slot, bucket: Bucket, fence: Fence) {
    this.#index = index;
    this.#place = place;
    this.#bucket = bucket;
    this.#fence = fence;
  }

  insertLocal(inserts: Insert[]): void {
    if (inserts.length === 0) return;
    if (isOutside(this.#fence)) {
      this.#entering = this.#statements.push(enter(this.#index, this.#place, this.#fence)) - 1;
    }
    const rows = inserts.map(({ version, base, operation }) => ({
      ...toRow(version),
      base,
      repeated: operation.isRepeat,
    }));
    const completion = inserts[0]!.completion;
    this.#inserting.push(
      this.#add(
        `INSERT INTO versions (${INSERT_COLUMNS})
         SELECT ${SELECT_COLUMNS} FROM json_each(?3) r
         WHERE EXISTS (SELECT 1 FROM buckets WHERE ${IS_CURRENT})
           AND coalesce(${GREATEST}, '') < r.value ->> 'version_id'
           AND coalesce(r.value ->> 'base' = coalesce(${GREATEST}, ''), true)
           AND NOT EXISTS (SELECT 1 FROM removed x WHERE x.bucket_id = (?1 + 0) AND x.key = r.value ->> 'key'
             AND x.version_id > r.value ->> 'version_id')
           AND (r.value ->> 'repeated' IS NULL OR NOT ${isWrittenIn("versions")} AND NOT ${isWrittenIn("removed")})
           AND ${isInside(5)}
           ${completion ? `AND ${uploadIsUnchanged(7)}` : ""}
         RETURNING key, version_id`,
        this.#bucket.revision,
        JSON.stringify(rows),
        repeatFloor(),
        ...insideBinds(this.#place, this.#fence),
        ...(completion ? uploadBinds(completion) : []),
      ),
    );
  }

  /** A replica is inserted where its id is neither present nor removed; whatever else is there, it takes its place in order. */
  insertReplicas(merges: Insert[]): void {
    const absent = merges.filter(({ operation }) => !("isThere" in operation && operation.isThere));
    if (absent.length === 0) return;
    const completion = absent[0]!.completion;
    this.#inserting.push(
      this.#add(
        `INSERT INTO versions (${INSERT_COLUMNS})
         SELECT ${SELECT_COLUMNS} FROM json_each(?2) r
         WHERE EXISTS (SELECT 1 FROM buckets WHERE bucket_id = (?1 + 0) AND state = 'active' AND versioning = 'Enabled')
           AND NOT EXISTS (SELECT 1 FROM removed x WHERE x.bucket_id = (?1 + 0) AND x.key = r.value ->> 'key'
             AND x.version_id = r.value ->> 'version_id')
           ${completion ? `AND ${uploadIsUnchanged(3)}` : ""}
         ON CONFLICT DO NOTHING RETURNING key, version_id`,
        JSON.stringify(absent.map(({ version }) => toRow(version))),
        ...(completion ? uploadBinds(completion) : []),
      ),
    );
  }

  insertBodies(arrivals: Insert[]): void {
    const inline = arrivals.filter((arrival) => arrival.inline !== undefined);
    if (inline.length > 0) {
      this.#add(
        `INSERT INTO inline_bodies (bucket_id, key, version_id, body)
         SELECT ?1, r.value ->> 'key', r.value ->> 'version_id', r.value ->> 'body'
         FROM json_each(?2) r WHERE ${VERSION_IS_THERE} ON CONFLICT DO NOTHING`,
        JSON.stringify(
          inline.map(({ version, inline: body }) => ({ ...named(version), body, request: version.requestId })),
        ),
      );
    }
    const segments = arrivals.flatMap(({ version, segments = [] }) =>
      segments.map((segment) => ({ ...named(version), request: version.requestId, ...segment })),
    );
    if (segments.length > 0) {
      this.#add(
        `INSERT INTO segments (bucket_id, key, version_id, offset, part_number, size, md5, checksum, r2_key)
         SELECT ?1, r.value ->> 'key', r.value ->> 'version_id', r.value ->> 'offset', r.value ->> 'partNumber',
           r.value ->> 'size', r.value ->> 'md5', r.value ->> 'checksum', r.value ->> 'r2Key'
         FROM json_each(?2) r WHERE ${VERSION_IS_THERE} ON CONFLICT DO NOTHING`,
        JSON.stringify(segments),
      );
    }
    for (const { version, completion } of arrivals)
      if (completion) this.#complete(named(version), version.requestId, completion);
  }

  /** The named parts become segments, the others garbage, and the upload is closed. */
  #complete(version: Named, requestId: string, { uploadId, parts, partsDigest }: Completion): void {
    const isThere = `EXISTS (SELECT 1 FROM versions WHERE bucket_id = ?1 AND key = ?2 AND version_id = ?3 AND request_id = ?4)`;
    const where = [version.key, version.version_id, requestId, uploadId];
    this.#add(
      `INSERT INTO segments (bucket_id, key, version_id, offset, part_number, size, md5, checksum, r2_key)
       SELECT ?1, ?2, ?3, sum(t.size) OVER (ORDER BY t.part_number, t.part_offset) - t.size,
         t.part_number, t.size, t.md5, t.checksum, t.r2_key
       FROM json_each(?6) r CROSS JOIN parts t
       WHERE t.bucket_id = ?1 AND t.upload_id = ?5 AND t.part_number = r.value ->> 0 AND t.part_offset = r.value ->> 1
         AND ${isThere}
       ON CONFLICT DO NOTHING`,
      ...where,
      JSON.stringify(parts),
    );
    this.#add(
      `INSERT INTO garbage (due_at, r2_key, bucket_id, key)
       SELECT ?6, t.r2_key, ?1, ?2 FROM parts t
       WHERE t.bucket_id = ?1 AND t.upload_id = ?5 AND ${isThere}
         AND t.r2_key NOT IN (SELECT s.r2_key FROM segments s WHERE s.bucket_id = ?1 AND s.key = ?2 AND s.version_id = ?3)
       ON CONFLICT DO NOTHING`,
      ...where,
      Date.now() + GARBAGE_DELAY_MS,
    );
    this.#add(`DELETE FROM parts WHERE bucket_id = ?1 AND upload_id = ?5 AND ${isThere}`, ...where);
    this.#add(
      `UPDATE uploads SET state = 'completed', touched_at = ?6, version_id = ?3, parts_digest = ?7
       WHERE bucket_id = ?1 AND key = ?2 AND upload_id = ?5 AND ${isThere}`,
      ...where,
      Date.now(),
      partsDigest,
    );
  }

  insertOutbox(inserts: Insert[]): void {
    const bound = inserts.filter(({ version }) => version.bound.length > 0);
    if (bound.length === 0) return;
    this.#add(
      `INSERT INTO outbox (link_id, slot, version_id, key, change)
       SELECT l.value, ?3, v.version_id, v.key, v.version_id
       FROM json_each(?2) r CROSS JOIN versions v CROSS JOIN json_each(v.bound) l
       WHERE v.bucket_id = (?1 + 0) AND v.key = r.value ->> 'key' AND v.version_id = r.value ->> 'version_id'
       ON CONFLICT DO NOTHING`,
      JSON.stringify(bound.map(({ version }) => named(version))),
      this.#place.slot,
    );
  }

  /** At most one null version a key: the greatest stays. */
  replaceNulls(inserts: Insert[]): void {
    const nulls = inserts.filter(({ version }) => version.isNull).map(({ version }) => named(version));
    if (nulls.length === 0) return;
    this.#purge(
      "replaced",
      `SELECT v.key, v.version_id, v.bound, v.request_id FROM json_each(?2) r CROSS JOIN versions n CROSS JOIN versions v
       WHERE n.bucket_id = ?1 AND n.key = r.value ->> 'key' AND n.version_id = r.value ->> 'version_id'
         AND v.bucket_id = ?1 AND v.key = n.key AND v.is_null = 1 AND v.version_id < n.version_id`,
      JSON.stringify(nulls),
    );
  }

  remove(removals: Removal[]): void {
    if (removals.length === 0) return;
    this.#looking = this.#add(`SELECT 1 FROM buckets WHERE ${IS_CURRENT}`, this.#bucket.revision);
    const present = removals.flatMap(({ version }) => (version ? [named(version)] : []));
    if (present.length === 0) return;
    this.#removing = this.#purge(
      "deleted",
      `SELECT v.key, v.version_id, v.bound, v.request_id FROM json_each(?3) r CROSS JOIN versions v
       WHERE v.bucket_id = ?1 AND v.key = r.value ->> 'key' AND v.version_id = r.value ->> 'version_id'
         AND EXISTS (SELECT 1 FROM buckets WHERE ${IS_CURRENT})`,
      this.#bucket.revision,
      JSON.stringify(present),
    );
  }

  edit(edits: Edit[]): void {
    for (const edit of edits) {
      const [change, ...others] = editStatements(edit, this.#place.slot, this.#bucket.revision);
      this.#editing.push(this.#add(...change));
      for (const other of others) this.#add(...other);
    }
  }

  /** Of a replica that is there already its tags are taken, if they are of a later change than those here. */
  mergeTags(merges: Insert[]): void {
    for (const { version } of merges) if (version.tagsChange !== null) this.#add(...mergeStatement(version));
  }

  /** Removes versions and what hangs on them; the version rows last, since the others look at them. Gives the index of that last statement. */
  #purge(why: "deleted" | "replaced", victims: string, ...binds: unknown[]): number {
    const now = Date.now();
    const next = binds.length + 2;
    const each = `(SELECT key, version_id FROM (${victims}))`;
    if (this.#bucket.versioning !== "Unversioned") {
      this.#add(
        `INSERT INTO removed (bucket_id, key, version_id, removed_at, why, request_id)
         SELECT ?1, x.key, x.version_id, ?${next}, '${why}', x.request_id FROM (${victims}) x WHERE true ON CONFLICT DO NOTHING`,
        ...binds,
        now,
      );
      for (const table of ["outbox", "failed"]) {
        this.#add(
          `DELETE FROM ${table} WHERE slot = ?${next} AND (link_id, version_id, key) IN
             (SELECT l.value, x.version_id, x.key FROM (${victims}) x CROSS JOIN json_each(x.bound) l)`,
          ...binds,
          this.#place.slot,
        );
      }
    }
    this.#add(
      `INSERT INTO garbage (due_at, r2_key, bucket_id, key)
       SELECT ?${next}, s.r2_key, ?1, s.key FROM (${victims}) x CROSS JOIN segments s
       WHERE s.bucket_id = ?1 AND s.key = x.key AND s.version_id = x.version_id ON CONFLICT DO NOTHING`,
      ...binds,
      now + GARBAGE_DELAY_MS,
    );
    this.#add(`DELETE FROM segments WHERE bucket_id = ?1 AND (key, version_id) IN ${each}`, ...binds);
    this.#add(`DELETE FROM inline_bodies WHERE bucket_id = ?1 AND (key, version_id) IN ${each}`, ...binds);
    return this.#add(
      `DELETE FROM versions WHERE bucket_id = ?1 AND (key, version_id) IN ${each} RETURNING key, version_id`,
      ...binds,
    );
  }

  async run(): Promise<Committed> {
    if (this.#statements.length === 0) return NOTHING_DONE;
    const results = await this.#index.batch<Named>(this.#statements);
    const names = (index: number) =>
      results[index]!.results.map((row) => nameOf({ key: row.key, versionId: row.version_id }));
    return {
      inserted: new Set(this.#inserting.flatMap(names)),
      removed: new Set(this.#removing === undefined ? [] : names(this.#removing)),
      edited: new Set(this.#editing.flatMap(names)),
      hasEntered: this.#entering !== undefined && results[this.#entering]!.results.length > 0,
      isCurrent: this.#looking === undefined || results[this.#looking]!.results.length > 0,
    };
  }

  /** Adds a statement whose ?1 is the bucket; gives its index. */
  #add(sql: string, ...binds: unknown[]): number {
    this.#statements.push(this.#index.prepare(sql).bind(this.#place.bucketId, ...binds));
    return this.#statements.length - 1;
  }
}

/** Takes the revision of the decision as ?2. */
const IS_CURRENT = "bucket_id = (?1 + 0) AND state = 'active' AND revision = (?2 + 0)";

// The request tells a version that this commit inserted from one that was there by the same id: a replica's repeat
// mustn't hang a second body on it.
const VERSION_IS_THERE = `EXISTS (SELECT 1 FROM versions v WHERE v.bucket_id = (?1 + 0) AND v.key = r.value ->> 'key'
  AND v.version_id = r.value ->> 'version_id' AND v.request_id = r.value ->> 'request')`;

/** The upload is open and holds each part that the completion names. Takes two parameters, from ?`at` on. */
function uploadIsUnchanged(at: number): string {
  return `EXISTS (SELECT 1 FROM uploads WHERE bucket_id = ?1 AND key = r.value ->> 'key'
      AND upload_id = ?${at} AND state IN ('open', 'replica'))
    AND (SELECT count(*) FROM json_each(?${at + 1}) p CROSS JOIN parts t WHERE t.bucket_id = ?1 AND t.upload_id = ?${at}
      AND t.part_number = p.value ->> 0 AND t.part_offset = p.value ->> 1 AND t.r2_key = p.value ->> 2)
      = json_array_length(?${at + 1})`;
}

function uploadBinds({ uploadId, parts }: Completion): [string, string] {
  return [uploadId, JSON.stringify(parts)];
}

function named({ key, versionId }: { key: string; versionId: string }): Named {
  return { key, version_id: versionId };
}
