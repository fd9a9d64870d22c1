import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseCopySource } from "../../src/s3/copysource.ts";
import { encodeKey } from "../../src/s3/target.ts";

const source = (key: string, versionId?: string) => ({ bucket: "b", key, versionId });

describe("x-amz-copy-source", () => {
  test.each([
    ["b/k", [source("k")]],
    ["/b/k", [source("k")]],
    ["b/a/b", [source("a/b")]],
    ["b%2Fa%2Fb", [source("a/b")]],
    ["b/k?versionId=null", [source("k", "null")]],
    ["b/k?versionId=1234567890123456789", [source("k", "1234567890123456789")]],
    ["b/what?", [source("what?")]],
    ["b/a+b", [source("a+b")]],
    ["b/deep/sp ace ü+%.txt", [source("deep/sp ace ü+%.txt")]],
    ["b/deep%2Fsp%20ace%20%C3%BC+%25.txt", [source("deep/sp ace ü+%.txt"), source("deep%2Fsp%20ace%20%C3%BC+%25.txt")]],
    ["b/100%25", [source("100%"), source("100%25")]],
    ["b/%FF", [source("%FF")]],
  ])("%s", (header, expected) => expect(parseCopySource(header)).toEqual(expected));

  test.each(["", "/", "b", "b/", "/b/", "//k"])("%j is InvalidArgument", (header) => {
    expect(() => parseCopySource(header)).toThrow(expect.objectContaining({ code: "InvalidArgument" }));
  });

  test("is InvalidArgument with a version id that is none, NotImplemented with an access point", () => {
    expect(() => parseCopySource("b/k?versionId=x")).toThrow(expect.objectContaining({ code: "InvalidArgument" }));
    expect(() => parseCopySource("arn:aws:s3:us-east-1:1:accesspoint/a/object/k")).toThrow(
      expect.objectContaining({ code: "NotImplemented" }),
    );
  });

  test("names any key that is percent-encoded", () => {
    const key = fc.string({ unit: "binary", minLength: 1, maxLength: 60 }).filter((text) => text.isWellFormed());
    fc.assert(
      fc.property(key, (key) => {
        expect(parseCopySource(`b/${encodeKey(key)}`)[0]).toEqual(source(key));
      }),
    );
  });
});
