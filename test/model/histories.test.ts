/**
 * Some histories of one seed, and that the mutations still find their places. A thousand of them, and whether each
 * mutation is caught, is for `npm run histories`: the latter takes half a minute each.
 */
import { describe, expect, it } from "vitest";
import { explain } from "./check.ts";
import type { Fault } from "./faults.ts";
import { runHistories, weaknesses } from "./histories.ts";
import { makePlan } from "./plan.ts";
import { MUTATIONS, scripts } from "./script.ts";

/** Those that Zonal was built against. */
const CERTAIN: Fault[] = ["late", "twin", "end-after", "d1-after", "queue-lost", "peer-500-after"];

describe("histories at both ends of a link, with faults,", () => {
  it("hold what Zonal promises", async () => {
    const summary = await runHistories({
      seed: "npm-test",
      from: 1,
      histories: 20,
      repeat: 1,
      side: 20,
      script: scripts(),
      maxFailures: 3,
    });
    const told = summary.failures.map(({ history, violations }) => explain(history, violations));
    expect(told.join("\n\n")).toBe("");
    expect(summary.histories).toBe(20);
    expect(weaknesses(summary)).toEqual([]);
    expect(summary.givenUp).toBe(0);
    expect(summary.plainWritesDone / summary.plainWrites).toBeGreaterThan(0.8);
    expect(summary.readsAnswered / summary.reads).toBeGreaterThan(0.8);
    // A fault that never struck proves nothing. Rare ones may miss a short run; these, and hundreds in all, don't.
    const counts = Object.entries(summary.struck);
    expect(counts.filter(([, count]) => count > 0).map(([fault]) => fault)).toEqual(expect.arrayContaining(CERTAIN));
    expect(counts.reduce((sum, [, count]) => sum + count, 0)).toBeGreaterThan(100);
    expect(summary.landed).toBeGreaterThan(0);
  }, 180_000);

  it("are planned by their seed alone", () => {
    expect(makePlan("a/1")).toEqual(makePlan("a/1"));
    expect(makePlan("a/1")).not.toEqual(makePlan("a/2"));
  });
});

it.each(Object.keys(MUTATIONS))("the mutation %s finds what it changes, once", async (mutation) => {
  const [plain, changed] = await Promise.all([scripts()("src/zone.ts"), scripts(mutation)("src/zone.ts")]);
  expect(changed).not.toBe(plain);
});
