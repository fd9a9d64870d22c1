import { describe, expect, test } from "vitest";
import { parseTagging } from "../../src/s3/tags.ts";

describe("x-amz-tagging", () => {
  test("is written like a query", () => {
    expect(parseTagging(null)).toEqual({});
    expect(parseTagging("a=1&b=two+words&c=%C3%BC%3D&d")).toEqual({ a: "1", b: "two words", c: "ü=", d: "" });
  });

  test.each([
    ["a tag twice", "a=1&a=2"],
    ["more than 10 tags", Array.from({ length: 11 }, (_, i) => `k${i}=v`).join("&")],
    ["a key of 129 characters", `${"k".repeat(129)}=v`],
    ["a value of 257 characters", `k=${"v".repeat(257)}`],
    ["no key", "=v"],
    ["a character that tags can't have", "k=%00"],
    ["a key of the system's", "aws:k=v"],
  ])("is InvalidTag with %s", (_, header) => {
    expect(() => parseTagging(header)).toThrow(expect.objectContaining({ code: "InvalidTag" }));
  });

  test("is InvalidArgument where it isn't encoded", () => {
    expect(() => parseTagging("k=%zz")).toThrow(expect.objectContaining({ code: "InvalidArgument" }));
  });
});
