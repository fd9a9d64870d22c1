/** Clocks of a slot that is started anew again and again, and of several slots, as they meet in one bucket. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Clock, formatVersionId, millisecondsOf } from "../../src/store/clock.ts";

const START = 1_900_000_000_000;
/** As the Sequencer reserves. */
const RESERVE_MS = 1000;
const wall = fc.integer({ min: START - 600_000, max: START + 600_000 });
const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });

describe("the clocks of a slot, one instance after the other", () => {
  it("give ids that only grow, though each knows no more than what was reserved", () => {
    const instance = fc.array(fc.tuple(wall, random), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(fc.array(instance, { minLength: 1, maxLength: 6 }), (instances) => {
        let reservedUntil = 0;
        let greatest = "";
        for (const calls of instances) {
          let [now, share] = [START, 0];
          const clock = new Clock({ zoneNumber: 1, reservedUntil, now: () => now, random: () => share });
          for (const call of calls) {
            [now, share] = call;
            const id = clock.next();
            expect(id > greatest).toBe(true);
            greatest = id;
            if (clock.milliseconds >= reservedUntil) reservedUntil = clock.milliseconds + RESERVE_MS;
          }
        }
      }),
    );
  });
});

describe("a clock that observes", () => {
  it("doesn't run away from what it saw: its next id is at most a millisecond ahead of that and of the wall clock", () => {
    const seen = fc.tuple(wall, fc.nat(2 ** 14 - 1), fc.nat(63));
    fc.assert(
      fc.property(fc.array(seen, { maxLength: 20 }), wall, random, (all, now, share) => {
        const clock = new Clock({ zoneNumber: 1, reservedUntil: 0, now: () => now, random: () => share });
        for (const each of all) clock.observe(formatVersionId(...each));
        const greatest = Math.max(now, ...all.map(([milliseconds]) => milliseconds));
        expect(millisecondsOf(clock.next())).toBeGreaterThanOrEqual(greatest);
        expect(clock.milliseconds).toBeLessThanOrEqual(greatest + 1);
      }),
    );
  });

  it("gives the same whether it observes ids in one order or another, or twice", () => {
    const ids = fc.array(
      fc.tuple(wall, fc.nat(2 ** 14 - 1), fc.nat(63)).map((parts) => formatVersionId(...parts)),
      {
        minLength: 1,
        maxLength: 10,
      },
    );
    const orders = ids.chain((all) => fc.tuple(fc.constant(all), fc.shuffledSubarray(all, { minLength: all.length })));
    fc.assert(
      fc.property(orders, wall, random, ([one, other], now, share) => {
        const next = (observed: string[]) => {
          const clock = new Clock({ zoneNumber: 1, reservedUntil: 0, now: () => now, random: () => share });
          for (const id of observed) clock.observe(id);
          return clock.next();
        };
        expect(next([...other, ...other])).toBe(next(one));
      }),
    );
  });
});

it("clocks of different zones never give one id", () => {
  const zones = fc.uniqueArray(fc.nat(63), { minLength: 2, maxLength: 2 });
  fc.assert(
    fc.property(zones, fc.array(fc.tuple(wall, random), { maxLength: 30 }), (numbers, calls) => {
      let [now, share] = [START, 0];
      const clocks = numbers.map(
        (zoneNumber) => new Clock({ zoneNumber, reservedUntil: 0, now: () => now, random: () => share }),
      );
      const ids = calls.flatMap((call) => {
        [now, share] = call;
        return clocks.map((clock) => clock.next());
      });
      expect(new Set(ids).size).toBe(ids.length);
    }),
  );
});
