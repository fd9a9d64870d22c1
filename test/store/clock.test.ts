import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Clock, floorOf, formatVersionId, isVersionId, millisecondsOf } from "../../src/store/clock.ts";

const milliseconds = fc.integer({ min: 1_600_000_000_000, max: 2 ** 43 - 1 });
const tick = fc.integer({ min: 0, max: 2 ** 14 - 1 });
const zone = fc.integer({ min: 0, max: 63 });

describe("a version id", () => {
  it("is 19 decimal digits within 63 bits, whose text order is the order of time, tick and zone", () => {
    const parts = fc.tuple(milliseconds, tick, zone);
    fc.assert(
      fc.property(parts, parts, (one, other) => {
        const [a, b] = [formatVersionId(...one), formatVersionId(...other)];
        expect(isVersionId(a)).toBe(true);
        expect(millisecondsOf(a)).toBe(one[0]);
        const order = one[0] - other[0] || one[1] - other[1] || one[2] - other[2];
        expect(Math.sign(a < b ? -1 : a > b ? 1 : 0)).toBe(Math.sign(order));
        expect(floorOf(one[0]) <= a).toBe(true);
      }),
    );
  });

  it("is nothing else", () => {
    for (const text of [
      "",
      "null",
      "1",
      "12345678901234567890",
      "99999999999999999999",
      "-234567890123456789",
      "9999999999999999999",
    ]) {
      expect(isVersionId(text)).toBe(false);
    }
  });
});

describe("a clock", () => {
  it("gives ids that only grow, whatever the wall clock does and whatever is observed", () => {
    const event = fc.oneof(
      fc.record({ kind: fc.constant("next" as const), now: milliseconds }),
      fc.record({ kind: fc.constant("observe" as const), id: fc.tuple(milliseconds, tick, zone) }),
    );
    fc.assert(
      fc.property(fc.array(event, { maxLength: 60 }), zone, (events, zoneNumber) => {
        let now = 0;
        const clock = new Clock({ zoneNumber, reservedUntil: 0, now: () => now });
        let greatest = "";
        for (const event of events) {
          if (event.kind === "next") {
            now = event.now;
            const id = clock.next();
            expect(id > greatest).toBe(true);
            expect(isVersionId(id)).toBe(true);
            greatest = id;
          } else {
            const id = formatVersionId(...event.id);
            clock.observe(id);
            if (id > greatest) greatest = id;
          }
        }
      }),
    );
  });

  it("begins above what an earlier instance had reserved", () => {
    const clock = new Clock({ zoneNumber: 1, reservedUntil: 2_000_000_000_000, now: () => 1_900_000_000_000 });
    expect(millisecondsOf(clock.next())).toBeGreaterThanOrEqual(2_000_000_000_000);
  });

  it("carries into the next millisecond when the ticks of one are used up", () => {
    const clock = new Clock({ zoneNumber: 1, reservedUntil: 0, now: () => 1_900_000_000_000, random: () => 0.999 });
    const ids = Array.from({ length: 200 }, () => clock.next());
    expect(new Set(ids).size).toBe(200);
    expect(millisecondsOf(ids.at(-1)!)).toBeGreaterThan(1_900_000_000_000);
  });
});
