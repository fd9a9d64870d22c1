import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readWrangler } from "../../src/local/wrangler.ts";
import { chooseZones, describeZone } from "../../src/local/zones.ts";
import { ROOT } from "../harness.ts";

const workers = readWrangler(ROOT);
const declared = [
  { name: "ch-dk-2", number: 1 },
  { name: "at-vie-1", number: 2 },
];
const names = fc.uniqueArray(fc.stringMatching(/^[a-z][a-z0-9]{0,5}(-[a-z0-9]{1,4})?$/), {
  minLength: 1,
  maxLength: 12,
});

describe("The zones of a local run", () => {
  test("are those of wrangler.toml at first", () => {
    expect(chooseZones(workers, [], undefined)).toEqual(declared);
  });

  test("are those of the state from then on", () => {
    const known = [...declared, { name: "de-fra-1", number: 3 }];
    expect(chooseZones(workers, known, undefined)).toEqual(known);
  });

  test("keep their numbers in whatever order and company they are named", () => {
    fc.assert(
      fc.property(names, names, (first, others) => {
        const before = chooseZones(workers, [], first);
        const after = chooseZones(workers, before, [...new Set([...others, ...first])]);
        expect(after).toEqual(expect.arrayContaining(before));
      }),
    );
  });

  test("have numbers of their own from 1 to 63, and none of a declared zone's", () => {
    fc.assert(
      fc.property(names, (chosen) => {
        const zones = chooseZones(workers, [], chosen);
        const all = new Map([...declared, ...zones].map(({ name, number }) => [number, name]));
        expect(zones.every(({ name, number }) => all.get(number) === name && number >= 1 && number <= 63)).toBe(true);
      }),
    );
  });

  test("can't be 64 more than were declared", () => {
    const many = Array.from({ length: 64 }, (_, index) => `zone-${index}`);
    expect(() => chooseZones(workers, [], many)).toThrow("no zone numbers left");
  });

  test.each([
    [["Ch-Dk-2"], "is no zone name"],
    [["a", "a"], "twice"],
    [[""], "is no zone name"],
    [["ch-dk-2"], "also holds zone at-vie-1"],
  ])("are refused as %j", (chosen, message) => {
    expect(() => chooseZones(workers, declared, [...chosen])).toThrow(message);
  });
});

describe("A zone that wrangler.toml doesn't declare", () => {
  test("owns a bucket, a database and queues of its name, and shares the control database", () => {
    const zone = describeZone(workers, "de-fra-1");
    expect(zone).toMatchObject({
      name: "zonal-de-fra-1",
      vars: { ZONE: "de-fra-1" },
      buckets: [{ binding: "BLOBS", bucket: "zonal-de-fra-1" }],
      databases: [
        { binding: "INDEX", database: "zonal-index-de-fra-1" },
        { binding: "CONTROL", database: "zonal-control" },
      ],
      producers: [{ binding: "REPLICATION", queue: "zonal-replication-de-fra-1" }],
    });
    expect(zone.consumers[0]!.deadLetterQueue).toBe("zonal-replication-de-fra-1-dead");
  });
});
