/** What a run of histories is worth: that faults are decided by their seed alone, and that what they came to is counted. */
import { describe, expect, it } from "vitest";
import { FAULTS, Faults } from "./faults.ts";
import { type Summary, weaknesses } from "./histories.ts";
import { land, spoiltReads } from "./wires.ts";

/** An INDEX of which a batch or statement is done, but for those named `bad`. */
function indexOf(done: string[]): D1Database {
  const prepare = (sql: string) => {
    const run = async () => {
      done.push(sql);
      return { meta: { changes: sql === "guarded" ? 0 : 1 } };
    };
    return { sql, run, bind: () => ({ sql, run }) };
  };
  const batch = async (statements: { sql: string; run(): Promise<unknown> }[]) => {
    if (statements.some(({ sql }) => sql === "bad")) throw new Error("D1_ERROR: constraint failed");
    return await Promise.all(statements.map((statement) => statement.run()));
  };
  return { prepare, batch } as unknown as D1Database;
}

describe("faults", () => {
  it("strike as their seed says, whatever amounts are drawn between", () => {
    const decisions = (isDrawn: boolean) => {
      const faults = new Faults(1, "seed", { late: 0.5 });
      return Array.from({ length: 50 }, () => {
        if (isDrawn) faults.amount("late");
        return faults.strikes("late");
      });
    };
    expect(decisions(true)).toEqual(decisions(false));
  });

  it("count late batches that landed, that changed something, and that D1 refused", async () => {
    const faults = new Faults(1, "seed", {});
    const statement = (sql: string) => [{ sql, binds: [] }];
    faults.late.push(statement("insert"), statement("bad"), statement("guarded"));
    await land(indexOf([]), faults);
    expect(faults.struck).toMatchObject({ landed: 2, changing: 1, refused: 1 });
  });

  it("strike a statement or a batch before it was run, or after", async () => {
    const done: string[] = [];
    const struckBy = (rates: object) => spoiltReads(indexOf(done), () => new Faults(1, "seed", rates));
    const before = struckBy({ "index-before": 1 });
    await expect(before.prepare("one").run()).rejects.toThrow("D1_ERROR");
    await expect(before.batch([before.prepare("two").bind(1)])).rejects.toThrow("D1_ERROR");
    expect(done).toEqual([]);
    const after = struckBy({ "index-after": 1 });
    await expect(after.prepare("one").bind(1).run()).rejects.toThrow("D1_ERROR");
    await expect(after.batch([after.prepare("two").bind(1)])).rejects.toThrow("D1_ERROR");
    expect(done).toEqual(["one", "two"]);
  });
});

describe("a run", () => {
  const struck = Object.fromEntries(FAULTS.map((fault) => [fault, 1])) as Summary["struck"];
  const done = { landed: 1, changing: 0, refused: 0, plainWrites: 10, plainWritesDone: 9, reads: 10, readsAnswered: 9 };
  const searched = { histories: 200, failures: [], operations: {}, searches: 1, givenUp: 0, seconds: 1 };
  const good: Summary = { ...done, ...searched, struck };

  it("is worth something where all was searched, struck and done", () => {
    expect(weaknesses(good)).toEqual([]);
    expect(weaknesses({ ...good, histories: 199, struck: { ...struck, twin: 0 } })).toEqual([]);
  });

  it.each([
    ["a search was given up", { givenUp: 1 }],
    ["a fault never struck in many histories", { struck: { ...struck, twin: 0 } }],
    ["no late batch has landed", { landed: 0 }],
    ["too many writes were refused", { plainWritesDone: 8 }],
    ["too many reads were refused", { readsAnswered: 8 }],
  ])("is worth less where %s", (_, more) => {
    expect(weaknesses({ ...good, ...more })).toHaveLength(1);
  });
});
