/**
 * Reading one version with all that is needed to answer for it: its bucket, inline body, first segments and replication
 * status, in one statement.
 *
 * Each read alone is a trip to INDEX, which does one thing at a time. Where many read at once, the slot's Sequencer
 * makes one statement of all that waits (GroupedReads): at 64 clients twice as many GETs in the same time, and a little
 * slower for one alone, so a lone read goes straight to INDEX. Nothing is remembered between two reads: another
 * instance of the slot may have written meanwhile.
 */
import type { Segment } from "./bodies.ts";
import type { Versioning } from "./buckets.ts";
import type { Slot } from "./fence.ts";
import { packedRow, unpackRow, type VersionRow } from "./versions.ts";

export interface FoundRow extends VersionRow {
  versioning: Versioning;
  body: string | null;
  /** the first segments, read with the version, for they go with it */
  segments: Segment[] | null;
  failed: number;
  reason: string | null;
  pending: number;
}

/** Segments that are read together with a version: one more says that there are others. */
export const SEGMENTS = 100;

const SEGMENTS_JSON = `(SELECT json_group_array(json_object('partNumber', s.part_number, 'offset', s.offset, 'size', s.size,
    'md5', s.md5, 'checksum', s.checksum, 'r2Key', s.r2_key))
  FROM (SELECT * FROM segments s WHERE s.bucket_id = v.bucket_id AND s.key = v.key AND s.version_id = v.version_id
    ORDER BY s.offset LIMIT ${SEGMENTS + 1}) s)`;

const OF_VERSION = "o.link_id = l.value AND o.slot = (?3 + 0) AND o.version_id = v.version_id AND o.key = v.key";

// Parameters as expressions: SQLite plans a statement anew when one that its planner looked at is bound to another
// value, which took a tenth of a GET. An expression it doesn't look into.
const BUCKET = "(?1 + 0)";

// The order of `Found`.
const FOUND = `json_array(${packedRow("v")}, b.versioning, i.body, json(iif(v.storage = 'segments', ${SEGMENTS_JSON}, NULL)),
  iif(v.bound = '[]', 0, EXISTS (SELECT 1 FROM json_each(v.bound) l CROSS JOIN failed o WHERE ${OF_VERSION})
    OR EXISTS (SELECT 1 FROM json_each(v.bound) l CROSS JOIN outbox o CROSS JOIN links k
      WHERE ${OF_VERSION} AND k.link_id = o.link_id AND k.state = 'removed')),
  iif(v.bound = '[]', NULL,
    (SELECT o.reason FROM json_each(v.bound) l CROSS JOIN failed o WHERE ${OF_VERSION} LIMIT 1)),
  iif(v.bound = '[]', 0,
    EXISTS (SELECT 1 FROM json_each(v.bound) l CROSS JOIN outbox o WHERE ${OF_VERSION}))) AS found`;
type Found = [
  row: unknown[],
  versioning: Versioning,
  body: string | null,
  segments: Segment[] | null,
  failed: number,
  reason: string | null,
  pending: number,
];

const INLINE_BODIES = "inline_bodies i ON i.bucket_id = v.bucket_id AND i.key = v.key AND i.version_id = v.version_id";

function greatestOf(key: string): string {
  return `v.version_id = (SELECT version_id FROM versions WHERE bucket_id = ${BUCKET} AND key = ${key} ORDER BY version_id DESC LIMIT 1)`;
}

/** The current version of a key, or the one by id (`null` for the null version). Undefined if there is no such bucket. */
export async function findRow(
  env: Pick<Env, "INDEX">,
  { bucketId, slot }: Slot,
  key: string,
  versionId?: string,
): Promise<FoundRow | undefined> {
  const wanted = "(?2 || '')";
  const byId = versionId === "null" ? "v.is_null = 1" : "v.version_id = (?4 || '')";
  const statement = env.INDEX.prepare(
    `SELECT ${FOUND} FROM buckets b
       LEFT JOIN versions v ON v.bucket_id = b.bucket_id AND v.key = ${wanted}
         AND ${versionId === undefined ? greatestOf(wanted) : byId}
       LEFT JOIN ${INLINE_BODIES}
     WHERE b.bucket_id = ${BUCKET} AND b.state = 'active' LIMIT 1`,
  );
  const binds = [bucketId, key, slot, ...(versionId === undefined || versionId === "null" ? [] : [versionId])];
  return parseFound(bucketId, await statement.bind(...binds).first<string>("found"));
}

/** The row of what a statement found, which is its text; null: no such bucket. */
export function parseFound(bucketId: number, found: string | null): FoundRow | undefined {
  if (found === null) return undefined;
  const [row, versioning, body, segments, failed, reason, pending] = JSON.parse(found) as Found;
  return { ...unpackRow(bucketId, row), versioning, body, segments, failed, reason, pending };
}

interface Waiting {
  key: string;
  settle(found: string | null): void;
  fail(error: unknown): void;
}

/** Reads in one statement: their rows with inline bodies stay far below what D1 gives at once. */
const GROUP = 64;

/** What waits while a statement is under way is read by the next one. */
export class GroupedReads {
  readonly #index: D1Database;
  #waiting: Waiting[] = [];
  #isRunning = false;

  constructor(env: Pick<Env, "INDEX">) {
    this.#index = env.INDEX;
  }

  /** What is found of the current version of a key, for parseFound; null if there is no such bucket. */
  async find(place: Slot, key: string): Promise<string | null> {
    return await new Promise((settle, fail) => {
      this.#waiting.push({ key, settle, fail });
      if (!this.#isRunning) void this.#run(place);
    });
  }

  async #run(place: Slot): Promise<void> {
    this.#isRunning = true;
    while (this.#waiting.length > 0) {
      const group = this.#waiting.splice(0, GROUP);
      try {
        const texts = await this.#read(place, [...new Set(group.map(({ key }) => key))]);
        for (const { key, settle } of group) settle(texts.get(key) ?? null);
      } catch (error) {
        for (const { fail } of group) fail(error);
      }
    }
    this.#isRunning = false;
  }

  async #read({ bucketId, slot }: Slot, keys: string[]): Promise<Map<string, string>> {
    const { results } = await this.#index
      .prepare(
        `SELECT r.value AS wanted, ${FOUND} FROM json_each((?2 || '')) r CROSS JOIN buckets b
           LEFT JOIN versions v ON v.bucket_id = b.bucket_id AND v.key = r.value AND ${greatestOf("r.value")}
           LEFT JOIN ${INLINE_BODIES}
         WHERE b.bucket_id = ${BUCKET} AND b.state = 'active'`,
      )
      .bind(bucketId, JSON.stringify(keys), slot)
      .all<{ wanted: string; found: string }>();
    return new Map(results.map(({ wanted, found }) => [wanted, found]));
  }
}
