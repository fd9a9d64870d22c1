import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { barLine } from "../../src/cli/progress.ts";
import { displayWidth } from "../../src/cli/table.ts";

describe("Progress bars", () => {
  const whole = (name: string, total: number, columns: number) =>
    barLine({ name, done: total, total, seconds: 0, columns });

  test("a finished bar fills the terminal's width", () => {
    expect(whole("config.json", 372, 119)).toBe(`config.json      [${"=".repeat(75)}] 372.00 b / 372.00 b | 0s`);
    expect(whole("conf-a.json", 364, 122)).toBe(`conf-a.json      [${"=".repeat(78)}] 364.00 b / 364.00 b | 0s`);
    expect(whole("hello.txt", 372, 80)).toBe(
      "hello.txt        [====================================] 372.00 b / 372.00 b | 0s",
    );
  });

  test("a name over 16 bytes is cut to 15 and an ellipsis, never within a character", () => {
    expect(whole("0123456789abcdef", 1, 80)).toMatch(/^0123456789abcdef \[=/);
    expect(whole("0123456789abcdefg", 1, 80)).toMatch(/^0123456789abcde… \[=/);
    expect(whole("ééééééééé", 1, 80)).toMatch(/^ééééééé… {9}\[=/);
  });

  test("an unfinished bar has a tip, an empty object an empty bar", () => {
    const half = { name: "a", done: 1024 * 1024, total: 2 * 1024 * 1024, seconds: 3605, columns: 60 };
    expect(barLine(half)).toBe("a                [=====>------] 1.00 MiB / 2.00 MiB | 1h0m5s");
    expect(whole("a", 0, 60)).toBe(`a                [${"-".repeat(20)}] 0.00 b / 0.00 b | 0s`);
  });

  test("every bar is as wide as the terminal", () => {
    fc.assert(
      fc.property(
        fc.string({ unit: "grapheme" }),
        fc.nat(2 ** 31),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (name, total, part) => {
          const line = barLine({ name, total, done: Math.floor(total * part), seconds: 7, columns: 100 });
          expect(displayWidth(line)).toBe(100);
          expect(line).toMatch(/ \[=*>?-*\] [\d.]+ \w+ \/ [\d.]+ \w+ \| 7s$/);
        },
      ),
    );
  });
});
