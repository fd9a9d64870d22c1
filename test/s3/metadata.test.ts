import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decodeWords, encodeWords, readMetadata, writeMetadata } from "../../src/s3/metadata.ts";

describe("User metadata", () => {
  test("comes back as it was if it is printable US-ASCII", () => {
    expect(encodeWords("Plain text, 100%?")).toBe("Plain text, 100%?");
  });

  test("comes back in encoded words otherwise, each short enough and of whole characters", () => {
    expect(encodeWords("ü")).toBe("=?UTF-8?B?w7w=?=");
    const words = encodeWords("中文".repeat(40)).split(" ");
    expect(words.length).toBeGreaterThan(1);
    for (const word of words) {
      expect(word.length).toBeLessThanOrEqual(75);
      expect(decodeWords(word)).not.toContain("\uFFFD");
    }
  });

  test("is decoded by RFC 2047", () => {
    expect(decodeWords("=?UTF-8?Q?caf=C3=A9_au_lait?=")).toBe("café au lait");
    expect(decodeWords("=?utf-8?b?w7w=?=  =?ISO-8859-1?q?=FC?= and")).toBe("üü and");
    expect(decodeWords("=?no-charset?q?x?= =?UTF-8?Q?=FF?=")).toBe("=?no-charset?q?x?= =?UTF-8?Q?=FF?=");
  });

  test("survives the way in and out, whatever it is", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (value) => {
        fc.pre(!/=\?/.test(value) && value === value.trim());
        expect(decodeWords(encodeWords(value))).toBe(value);
        expect(encodeWords(value)).toMatch(/^[\x20-\x7E\t]*$/);
      }),
    );
  });

  test("is read from headers and written to headers", () => {
    const metadata = readMetadata(
      new Headers({ "x-amz-meta-Colour": "red", "content-type": "x", "x-amz-meta-__proto__": "p" }),
    );
    expect(Object.entries(metadata)).toEqual([
      ["__proto__", "p"],
      ["colour", "red"],
    ]);
    const headers = new Map();
    writeMetadata(headers, { name: "ü" });
    expect(headers.get("x-amz-meta-name")).toBe("=?UTF-8?B?w7w=?=");
  });

  test("is MetadataTooLarge above 2 KB of names and values", () => {
    const headers = (length: number) => new Headers({ "x-amz-meta-ab": "x".repeat(length) });
    expect(readMetadata(headers(2046))).toBeTruthy();
    expect(() => readMetadata(headers(2047))).toThrow(expect.objectContaining({ code: "MetadataTooLarge" }));
  });
});
