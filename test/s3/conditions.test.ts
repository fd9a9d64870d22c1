import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  checkSourceConditions,
  evaluateConditions,
  parseCopyRange,
  parseETags,
  parseRange,
} from "../../src/s3/conditions.ts";

const LAST_MODIFIED = Date.parse("2026-01-02T03:04:05.678Z");
const object = { etag: "abc", lastModified: LAST_MODIFIED };
const [BEFORE, SAME, AFTER] = [-60_000, 0, 60_000].map((shift) => new Date(LAST_MODIFIED + shift).toUTCString());

/** `proceed`, `notModified`, or the code of what is thrown. */
function outcome(headers: Record<string, string>): string {
  try {
    return evaluateConditions(new Headers(headers), object);
  } catch (error) {
    return (error as { code: string }).code;
  }
}

describe("Conditions of a read", () => {
  test.each([
    [{}, "proceed"],
    [{ "if-match": '"abc"' }, "proceed"],
    [{ "if-match": "abc" }, "proceed"],
    [{ "if-match": "*" }, "proceed"],
    [{ "if-match": '"x", "abc"' }, "proceed"],
    [{ "if-match": '"x"' }, "PreconditionFailed"],
    [{ "if-match": 'W/"abc"' }, "PreconditionFailed"],
    [{ "if-none-match": '"abc"' }, "notModified"],
    [{ "if-none-match": 'W/"abc"' }, "notModified"],
    [{ "if-none-match": "*" }, "notModified"],
    [{ "if-none-match": '"x"' }, "proceed"],
    [{ "if-modified-since": BEFORE }, "proceed"],
    [{ "if-modified-since": SAME }, "notModified"],
    [{ "if-modified-since": AFTER }, "notModified"],
    [{ "if-unmodified-since": BEFORE }, "PreconditionFailed"],
    [{ "if-unmodified-since": SAME }, "proceed"],
    [{ "if-match": '"abc"', "if-unmodified-since": BEFORE }, "proceed"],
    [{ "if-none-match": '"x"', "if-modified-since": AFTER }, "proceed"],
    [{ "if-match": '"x"', "if-none-match": '"abc"' }, "PreconditionFailed"],
    [{ "if-match": '"abc"', "if-none-match": '"abc"' }, "notModified"],
    [{ "if-modified-since": "yesterday" }, "InvalidArgument"],
  ] as [Record<string, string>, string][])("%j: %s", (headers, expected) => expect(outcome(headers)).toBe(expected));

  test("on a copy's source are PreconditionFailed where a read would be 304", () => {
    const headers = new Headers({ "x-amz-copy-source-if-none-match": '"abc"' });
    expect(() => checkSourceConditions(headers, object)).toThrow(
      expect.objectContaining({ code: "PreconditionFailed" }),
    );
    expect(() => checkSourceConditions(new Headers({ "if-none-match": '"abc"' }), object)).not.toThrow();
  });

  test("of a write are ETags or `*`", () => {
    expect(parseETags(null)).toBeUndefined();
    expect(parseETags(" * ")).toBe("*");
    expect(parseETags('"a","b"')).toEqual(["a", "b"]);
  });
});

describe("A range", () => {
  const read = (range: string, size: number, more = {}) => parseRange(new Headers({ range, ...more }), size, object);

  test.each([
    ["bytes=0-0", 10, { offset: 0, length: 1 }],
    ["bytes=2-", 10, { offset: 2, length: 8 }],
    ["bytes=2-99", 10, { offset: 2, length: 8 }],
    ["bytes=-3", 10, { offset: 7, length: 3 }],
    ["bytes=-99", 10, { offset: 0, length: 10 }],
  ])("%s of %d bytes", (range, size, expected) => expect(read(range, size)).toEqual(expected));

  test.each(["bytes=0-1,4-5", "bytes=5-2", "bytes=-", "bytes", "lines=0-1", "bytes=a-b"])(
    "%s means the whole",
    (range) => {
      expect(read(range, 10)).toBeUndefined();
    },
  );

  test.each([
    ["bytes=10-", 10],
    ["bytes=10-12", 10],
    ["bytes=-0", 10],
    ["bytes=0-", 0],
    ["bytes=0-0", 0],
    ["bytes=-1", 0],
  ])("%s of %d bytes is InvalidRange", (range, size) => {
    expect(() => read(range, size)).toThrow(expect.objectContaining({ code: "InvalidRange" }));
  });

  test("always lies within the object", () => {
    const number = fc.option(fc.nat(200));
    fc.assert(
      fc.property(number, number, fc.nat(100), (first, last, size) => {
        try {
          const range = read(`bytes=${first ?? ""}-${last ?? ""}`, size);
          if (!range) return;
          expect(range.length).toBeGreaterThan(0);
          expect(range.offset + range.length).toBeLessThanOrEqual(size);
        } catch (error) {
          expect(error).toMatchObject({ code: "InvalidRange" });
        }
      }),
    );
  });

  test("is held back by If-Range where the object is another", () => {
    expect(read("bytes=0-1", 10, { "if-range": '"abc"' })).toEqual({ offset: 0, length: 2 });
    expect(read("bytes=0-1", 10, { "if-range": '"x"' })).toBeUndefined();
    expect(read("bytes=0-1", 10, { "if-range": SAME })).toEqual({ offset: 0, length: 2 });
    expect(read("bytes=0-1", 10, { "if-range": BEFORE })).toBeUndefined();
  });

  test("of a copy names both ends within the source", () => {
    expect(parseCopyRange("bytes=0-9", 10)).toEqual({ offset: 0, length: 10 });
    for (const range of ["bytes=0-", "bytes=-5", "0-9", "bytes=5-2", "bytes=0-1,3-4"]) {
      expect(() => parseCopyRange(range, 10)).toThrow(expect.objectContaining({ code: "InvalidArgument" }));
    }
    expect(() => parseCopyRange("bytes=0-10", 10)).toThrow(expect.objectContaining({ code: "InvalidRange" }));
  });
});
