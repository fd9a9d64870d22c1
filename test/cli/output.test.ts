import { describe, expect, test } from "vitest";
import { formatTime, humanSize } from "../../src/cli/output.ts";

describe("Sizes and times", () => {
  test("sizes are rounded as exo rounds them", () => {
    const sizes = [0, 9, 372, 600, 1023, 1024, 1536, 10 * 1024, 20 * 1024 * 1024, 5 * 1024 ** 4];
    expect(sizes.map(humanSize)).toEqual([
      "0 B",
      "9 B",
      "372 B",
      "600 B",
      "1023 B",
      "1.0 KiB",
      "1.5 KiB",
      "10 KiB",
      "20 MiB",
      "5.0 TiB",
    ]);
  });

  test("times are told to the second, in UTC", () => {
    expect(formatTime("2025-02-20T15:50:12.345Z")).toBe("2025-02-20 15:50:12 UTC");
    expect(formatTime("Thu, 20 Feb 2025 15:50:12 GMT")).toBe("2025-02-20 15:50:12 UTC");
    expect(() => formatTime("yesterday")).toThrow("can't be read");
  });
});
