import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bindLinks, type ReplicationRule } from "../../src/store/rules.ts";
import { type Stand, startStand } from "./stand.ts";

let stand: Stand;
beforeAll(async () => {
  stand = await startStand();
});
afterAll(() => stand.stop());

const rule = fc.record({
  priority: fc.integer({ min: 0, max: 5 }),
  isEnabled: fc.boolean(),
  prefix: fc.constantFrom("", "a", "a/", "b"),
  tags: fc.constantFrom<Record<string, string>>({}, { color: "red" }, { color: "red", size: "big" }),
  replicatesDeleteMarkers: fc.boolean(),
  bucketId: fc.integer({ min: 1, max: 3 }),
});
const rules = fc.array(rule, { maxLength: 8 }).map((list) =>
  list.map(
    ({ bucketId, ...each }, i): ReplicationRule => ({
      ...each,
      id: `${i}`,
      destination: { bucketId, name: `${bucketId}` },
      linkId: i,
    }),
  ),
);
const version = fc.record({
  key: fc.constantFrom("a", "a/b", "b", "c"),
  tags: fc.constantFrom<Record<string, string>>({}, { color: "red" }, { color: "red", size: "big" }, { color: "blue" }),
  isDeleteMarker: fc.boolean(),
});

const covers = (each: ReplicationRule, key: string, tags: Record<string, string>) =>
  each.isEnabled &&
  key.startsWith(each.prefix) &&
  Object.entries(each.tags).every(([name, value]) => tags[name] === value);

describe("the links that bind a version", () => {
  it("are for each destination that of an enabled matching rule than which none has a higher priority", () => {
    fc.assert(
      fc.property(rules, version, (list, made) => {
        const bound = bindLinks({ role: "r", rules: list, document: null }, made);
        const byDestination = Map.groupBy(
          list.filter((each) => covers(each, made.key, made.tags)),
          (each) => each.destination.bucketId,
        );
        for (const [, candidates] of byDestination) {
          const best = Math.max(...candidates.map((each) => each.priority));
          const winner = candidates.find((each) => each.priority === best)!;
          const travels = !made.isDeleteMarker || winner.replicatesDeleteMarkers;
          expect(bound.includes(winner.linkId)).toBe(travels);
        }
        const destinations = bound.map((linkId) => list[linkId]!.destination.bucketId);
        expect(new Set(destinations).size).toBe(destinations.length);
        expect(bound.every((linkId) => covers(list[linkId]!, made.key, made.tags))).toBe(true);
      }),
    );
  });
});

describe("a replication configuration", () => {
  const ruleTo = (id: string, bucketId: number, isEnabled = true) => ({
    id,
    priority: 1,
    isEnabled,
    prefix: "",
    tags: {},
    replicatesDeleteMarkers: true,
    destination: { bucketId, name: `destination-${bucketId}` },
  });
  const configure = async (bucketId: number, list: ReturnType<typeof ruleTo>[] | null) => {
    const bucket = await stand.call("getBucket", bucketId);
    await stand.call("putReplication", bucket, list && { role: "r", rules: list, document: { any: "thing" } });
    return await stand.call("listLinks", bucketId);
  };
  const stateOf = (links: { ruleId: string; state: string }[]) =>
    links.map(({ ruleId, state }) => `${ruleId} ${state}`);

  it("keeps a link whose rule keeps ID and destination, marks others removed, pauses, and revives", async () => {
    const { bucketId } = await stand.newBucket("Enabled");
    const first = await configure(bucketId, [ruleTo("a", 77), ruleTo("b", 78)]);
    expect(stateOf(first)).toEqual(["a active", "b active"]);
    const second = await configure(bucketId, [ruleTo("b", 78, false), ruleTo("a", 79)]);
    expect(stateOf(second)).toEqual(["a removed", "b paused", "a active"]);
    expect(second[1].linkId).toBe(first[1].linkId);
    const { replication } = await stand.call("getBucket", bucketId);
    expect(replication.rules.map((each: ReplicationRule) => [each.id, each.linkId])).toEqual([
      ["b", first[1].linkId],
      ["a", second[2].linkId],
    ]);
    expect(replication.document).toEqual({ any: "thing" });
    expect(stateOf(await configure(bucketId, [ruleTo("a", 77)]))).toEqual(["a active", "b removed", "a removed"]);
    expect(stateOf(await configure(bucketId, null))).toEqual(["a removed", "b removed", "a removed"]);
    expect((await stand.call("getBucket", bucketId)).replication).toBeNull();
  });

  it("that was decided on an older revision is refused and changes nothing", async () => {
    const { bucketId } = await stand.newBucket("Enabled");
    const stale = await stand.call("getBucket", bucketId);
    await stand.call("setVersioning", bucketId, "Enabled");
    const attempt = stand.call("putReplication", stale, { role: "r", rules: [ruleTo("a", 77)], document: null });
    await expect(attempt).rejects.toMatchObject({ code: "OperationAborted" });
    expect(await stand.call("listLinks", bucketId)).toEqual([]);
    expect((await stand.call("getBucket", bucketId)).replication).toBeNull();
  });

  it("keeps versioning from being suspended", async () => {
    const { bucketId } = await stand.newBucket("Enabled");
    await configure(bucketId, [ruleTo("a", 77)]);
    await expect(stand.call("setVersioning", bucketId, "Suspended")).rejects.toMatchObject({
      code: "InvalidBucketState",
    });
  });

  it("binds a version that is written after it, which is PENDING, and FAILED once its rule is gone", async () => {
    const bucket = await stand.newBucket("Enabled");
    await stand.call("put", bucket, "before", "x");
    await configure(bucket.bucketId, [ruleTo("a", 77)]);
    expect((await stand.call("put", bucket, "after", "x")).replicationStatus).toBe("PENDING");
    expect((await stand.call("get", bucket, "before")).replicationStatus).toBeUndefined();
    expect((await stand.call("get", bucket, "after")).replicationStatus).toBe("PENDING");
    await configure(bucket.bucketId, null);
    expect((await stand.call("get", bucket, "after")).replicationStatus).toBe("FAILED");
    await configure(bucket.bucketId, [ruleTo("a", 77)]);
    expect((await stand.call("get", bucket, "after")).replicationStatus).toBe("PENDING");
  });
});
