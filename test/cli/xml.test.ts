import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { children, fitsXml, leaf, parseXml, writeXml } from "../../src/cli/xml.ts";

describe("XML", () => {
  test("entities are decoded once, and a document's own never", () => {
    const root = parseXml("<R><A>&amp;quot;&quot;&#34;&#x41; &lt;</A><B>&own;</B></R>", "R");
    expect(leaf(root, "A")).toBe('&quot;""A <');
    expect(leaf(root, "B")).toBe("&own;");
  });

  test("2,000 entities in a listing are no bomb", () => {
    const entry = "<Contents><Key>k</Key><ETag>&quot;e&quot;</ETag></Contents>";
    const root = parseXml(`<ListBucketResult>${entry.repeat(1000)}</ListBucketResult>`, "ListBucketResult");
    expect(children(root, "Contents")).toHaveLength(1000);
    expect(leaf(children(root, "Contents")[999], "ETag")).toBe('"e"');
  });

  test("what is no XML, or has another root, is none", () => {
    expect(parseXml("<html><body>502</body></html>", "Error")).toBeUndefined();
    expect(parseXml("502 Bad Gateway", "Error")).toBeUndefined();
    expect(parseXml("", "Error")).toBeUndefined();
    expect(parseXml("<R>&#x110000;</R>", "R")).toBeUndefined();
  });

  test("any key that XML can carry is read as it was written", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }).filter(fitsXml), (key) => {
        const root = parseXml(writeXml("Delete", { Contents: [{ Key: key }] }), "Delete");
        expect(leaf(children(root, "Contents")[0], "Key")).toBe(key);
      }),
    );
  });
});
