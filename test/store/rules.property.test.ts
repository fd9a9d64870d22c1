/** Which links bind a version, as the configuration around the winning rules changes. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { bindLinks, type ReplicationRule } from "../../src/store/rules.ts";

const tags = fc.constantFrom<Record<string, string>>({}, { color: "red" }, { color: "red", size: "big" });
const version = fc.record({ key: fc.constantFrom("a", "a/b", "b", "c"), tags, isDeleteMarker: fc.boolean() });

/** Priorities differ within a destination, as PutBucketReplication requires. */
const rules = fc
  .array(
    fc.record({
      isEnabled: fc.boolean(),
      prefix: fc.constantFrom("", "a", "a/", "b"),
      tags,
      replicatesDeleteMarkers: fc.boolean(),
      bucketId: fc.integer({ min: 1, max: 3 }),
    }),
    { maxLength: 8 },
  )
  .map((list) =>
    list.map(({ bucketId, ...rule }, i): ReplicationRule => {
      const destination = { bucketId, name: `bucket-${bucketId}` };
      return { ...rule, id: `${i}`, priority: i, destination, linkId: i + 1 };
    }),
  );

const bound = (list: ReplicationRule[], made: { key: string; tags: Record<string, string>; isDeleteMarker: boolean }) =>
  bindLinks({ role: "", rules: list, document: null }, made).sort();

describe("the links that bind a version", () => {
  it("don't depend on the order of the rules", () => {
    const orders = rules.chain((list) =>
      fc.tuple(fc.constant(list), fc.shuffledSubarray(list, { minLength: list.length })),
    );
    fc.assert(
      fc.property(orders, version, ([list, shuffled], made) => {
        expect(bound(shuffled, made)).toEqual(bound(list, made));
      }),
    );
  });

  it("are what each destination's rules alone would give", () => {
    fc.assert(
      fc.property(rules, version, (list, made) => {
        const groups = Map.groupBy(list, ({ destination }) => destination.bucketId);
        const apart = [...groups.values()].flatMap((group) => bound(group, made)).sort();
        expect(bound(list, made)).toEqual(apart);
      }),
    );
  });

  it("don't change where a rule that doesn't win is taken away", () => {
    fc.assert(
      fc.property(rules, version, (list, made) => {
        const winners = bound(list, { ...made, isDeleteMarker: false });
        for (const loser of list.filter(({ linkId }) => !winners.includes(linkId))) {
          const without = list.filter((rule) => rule !== loser);
          expect(bound(without, { ...made, isDeleteMarker: false })).toEqual(winners);
        }
      }),
    );
  });

  it("of a delete marker without tags are among those of an object without tags", () => {
    fc.assert(
      fc.property(rules, version, (list, { key }) => {
        const ofObject = bound(list, { key, tags: {}, isDeleteMarker: false });
        for (const linkId of bound(list, { key, tags: {}, isDeleteMarker: true })) expect(ofObject).toContain(linkId);
      }),
    );
  });
});
