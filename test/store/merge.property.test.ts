/**
 * Convergence: versions and edits of their tags may arrive in any order, in any batches, more than once and between
 * removals, and the bucket comes to the same. In the store itself, on D1.
 */
import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import { formatVersionId } from "../../src/store/clock.ts";
import { type Stand, startStand } from "./stand.ts";

let stand: Stand;
beforeAll(async () => {
  stand = await startStand();
});
afterAll(() => stand.stop());

const BASE = Date.now() - 600_000;
const SOURCE = 999;

/** A version as it arrives: as it was written, or with the tags of an edit. */
interface Arrival {
  key: string;
  versionId: string;
  isDeleteMarker: boolean;
  /** clock id of the edit */
  change: string | null;
}

type Event = { kind: "arrive"; arrivals: Arrival[] } | { kind: "remove"; key: string; versionId: string };

const written = fc.record({
  key: fc.constantFrom("a", "b"),
  versionId: fc
    .tuple(fc.nat(5), fc.nat(3), fc.constantFrom(2, 3))
    .map(([ms, tick, zone]) => formatVersionId(BASE + ms, tick, zone)),
  isDeleteMarker: fc.boolean(),
  edits: fc.uniqueArray(fc.integer({ min: 10, max: 15 }), { maxLength: 2 }),
});

const events = fc
  .uniqueArray(written, { minLength: 1, maxLength: 6, selector: ({ key, versionId }) => `${key} ${versionId}` })
  .chain((versions) => {
    const arrivals = versions.flatMap(({ edits, ...version }): Arrival[] => {
      const changes = version.isDeleteMarker ? [] : edits.map((ms) => formatVersionId(BASE + ms, 0, 2));
      return [null, ...changes].map((change) => ({ ...version, change }));
    });
    const batch = fc
      .subarray(arrivals, { minLength: 1, maxLength: Math.min(3, arrivals.length) })
      .map((some): Event => {
        return { kind: "arrive", arrivals: some };
      });
    const removal = fc.constantFrom(...versions).map(({ key, versionId }): Event => {
      return { kind: "remove", key, versionId };
    });
    const last = fc
      .shuffledSubarray(arrivals, { minLength: arrivals.length })
      .map((all): Event[] => all.map((each) => ({ kind: "arrive", arrivals: [each] })));
    const before = fc.array(fc.oneof({ weight: 3, arbitrary: batch }, { weight: 1, arbitrary: removal }), {
      maxLength: 6,
    });
    return fc.tuple(before, last).map(([some, all]) => [...some, ...all]);
  });

/** What must stand in the end, by `key versionId`: the change of the tags that stand, undefined for those written. */
function expected(all: Event[]): Map<string, string | null> {
  const [standing, removed] = [new Map<string, string | null>(), new Set<string>()];
  for (const event of all) {
    if (event.kind === "remove") {
      const name = `${event.key} ${event.versionId}`;
      if (standing.delete(name)) removed.add(name);
      continue;
    }
    for (const { key, versionId, change } of event.arrivals) {
      const name = `${key} ${versionId}`;
      if (removed.has(name)) continue;
      const present = standing.get(name) ?? null;
      standing.set(name, (change ?? "") > (present ?? "") ? change : present);
    }
  }
  return standing;
}

function replicaOf(bucketId: number, { key, versionId, isDeleteMarker, change }: Arrival) {
  const body = isDeleteMarker ? {} : { inline: Buffer.from("x").toString("base64") };
  const version = {
    bucketId,
    key,
    versionId,
    isNull: false,
    isDeleteMarker,
    size: isDeleteMarker ? 0 : 1,
    etag: isDeleteMarker ? "" : "9dd4e461268c8034f5c8564e155c67a6",
    storage: isDeleteMarker ? "none" : "inline",
    headers: {},
    metadata: {},
    tags: change === null ? {} : { change },
    checksum: null,
    bound: [],
    source: SOURCE,
    receivedAt: BASE,
    requestId: crypto.randomUUID(),
    tagsChange: change,
    tagsRequests: [],
  };
  return { version, ...body };
}

async function standing(bucketId: number): Promise<Map<string, string | null>> {
  const { results } = await stand.database
    .prepare(
      `SELECT v.key || ' ' || v.version_id AS name, v.tags ->> 'change' AS change, v.is_delete_marker, i.body
       FROM versions v LEFT JOIN inline_bodies i ON i.bucket_id = v.bucket_id AND i.key = v.key AND i.version_id = v.version_id
       WHERE v.bucket_id = ?1`,
    )
    .bind(bucketId)
    .all<{ name: string; change: string | null; is_delete_marker: number; body: string | null }>();
  for (const { is_delete_marker, body } of results) expect(body === null).toBe(is_delete_marker === 1);
  return new Map(results.map(({ name, change }) => [name, change]));
}

it("a bucket comes to the same, in whatever order versions, edits and removals arrive", async () => {
  await fc.assert(
    fc.asyncProperty(events, async (all) => {
      const bucket = await stand.newBucket("Enabled");
      for (const event of all) {
        if (event.kind === "remove") {
          await stand.call("deleteObject", bucket, { key: event.key, versionId: event.versionId });
        } else {
          const replicas = event.arrivals.map((arrival) => replicaOf(bucket.bucketId, arrival));
          await stand.call("mergeReplicas", bucket, replicas);
        }
      }
      expect(await standing(bucket.bucketId)).toEqual(expected(all));
    }),
    { numRuns: 25 },
  );
}, 60_000);
