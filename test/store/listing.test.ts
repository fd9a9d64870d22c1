import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { boundsOf, commonPrefixOf, successor } from "../../src/store/listing.ts";
import { type Stand, startStand } from "./stand.ts";

let stand: Stand;
beforeAll(async () => {
  stand = await startStand();
});
afterAll(() => stand.stop());

const byUtf8 = (a: string, b: string) => Buffer.compare(Buffer.from(a), Buffer.from(b));

/** Rows as the engine writes them, many at once. */
async function fill(
  bucketId: number,
  keys: number,
  versions: number,
  options: { prefix?: string; isDeleteMarker?: boolean } = {},
) {
  await stand.database
    .prepare(
      `WITH RECURSIVE k (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM k WHERE i < ?2 - 1),
         v (j) AS (SELECT 0 UNION ALL SELECT j + 1 FROM v WHERE j < ?3 - 1)
       INSERT INTO versions (bucket_id, key, version_id, is_null, is_delete_marker, size, etag, storage, headers, metadata, tags, bound, digest, request_id)
       SELECT ?1, ?4 || printf('%07d', i), printf('%019d', 1800000000000000000 + j), 0, ?5, 1, 'e', 'none', '{}', '{}', '{}', '[]', 0, ''
       FROM k CROSS JOIN v`,
    )
    .bind(bucketId, keys, versions, options.prefix ?? "k", Number(options.isDeleteMarker ?? false))
    .run();
}

async function names(bucketId: number, query: Record<string, unknown>): Promise<string[]> {
  const page = await stand.call("listObjects", bucketId, { prefix: "", delimiter: "", limit: 1000, ...query });
  return page.entries.map((entry: { key?: string; commonPrefix?: string }) => entry.key ?? `${entry.commonPrefix}*`);
}

/** What S3 lists, computed plainly. */
function expected(keys: string[], { prefix, delimiter }: { prefix: string; delimiter: string }): string[] {
  const shown = keys
    .filter((key) => key.startsWith(prefix))
    .map((key) => {
      const group = commonPrefixOf(key, prefix, delimiter);
      return group === undefined ? key : `${group}*`;
    });
  return [...new Set(shown.sort((a, b) => byUtf8(a.replace(/\*$/, ""), b.replace(/\*$/, ""))))];
}

describe("ListObjects", () => {
  it("gives keys and common prefixes in UTF-8 binary order, page by page, for any keys, prefix and delimiter", async () => {
    const part = fc.constantFrom("a", "b", "/", "//", "\u{1f600}", "\uffff", "é", "\u007f", "\u{10ffff}", "\u0000");
    const key = fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => parts.join(""));
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(key, { minLength: 1, maxLength: 12 }),
        fc.constantFrom("", "a", "/", "a/", "\uffff"),
        fc.constantFrom("", "/", "//", "b", "é"),
        fc.integer({ min: 1, max: 4 }),
        async (keys, prefix, delimiter, limit) => {
          const bucket = await stand.newBucket("Enabled");
          await stand.call("deleteObject", bucket, { key: `${keys[0]}-marker` });
          for (const k of keys) await stand.call("put", bucket, k, "x");
          const shown: string[] = [];
          for (let after: string | undefined; ; ) {
            const page = await stand.call("listObjects", bucket.bucketId, { prefix, delimiter, after, limit });
            shown.push(
              ...page.entries.map((e: { key?: string; commonPrefix?: string }) => e.key ?? `${e.commonPrefix}*`),
            );
            if (page.next === undefined) break;
            after = page.next;
          }
          expect(shown).toEqual(expected(keys, { prefix, delimiter }));
        },
      ),
      { numRuns: 40 },
    );
  });

  it("shows a common prefix only where something under it has a current object", async () => {
    const bucket = await stand.newBucket("Enabled");
    for (const key of ["gone/a", "gone/b", "here/a", "here/b", "z"]) await stand.call("put", bucket, key, "x");
    for (const key of ["gone/a", "gone/b", "here/a"]) await stand.call("deleteObject", bucket, { key });
    expect(await names(bucket.bucketId, { delimiter: "/" })).toEqual(["here/*", "z"]);
  });

  it("ends a page early, truncated, behind 200,000 delete markers, and goes on from there", async () => {
    const bucket = await stand.newBucket("Enabled");
    await fill(bucket.bucketId, 200_000, 1, { isDeleteMarker: true });
    await stand.call("put", bucket, "last", "x");
    let pages = 0;
    let after: string | undefined;
    for (;;) {
      const page = await stand.call("listObjects", bucket.bucketId, { prefix: "", delimiter: "", limit: 10, after });
      pages++;
      if (page.entries.length > 0) expect(page.entries[0].key).toBe("last");
      if (page.next === undefined) break;
      after = page.next;
    }
    expect(pages).toBe(5);
  });
});

describe("ListObjects, where markers and prefixes are odd", () => {
  const page = async (bucketId: number, query: Record<string, unknown>) =>
    await stand.call("listObjects", bucketId, { prefix: "", delimiter: "", limit: 1000, ...query });

  it("compares start-after with the prefix as UTF-8, not as UTF-16", async () => {
    const bucket = await stand.newBucket();
    for (const key of ["\uff5ea", "\uff5eb", "\u{1f600}/1", "\u{1f600}/2"]) await stand.call("put", bucket, key, "x");
    expect(await names(bucket.bucketId, { prefix: "\u{1f600}/", after: "\uff5e" })).toEqual([
      "\u{1f600}/1",
      "\u{1f600}/2",
    ]);
    expect(await names(bucket.bucketId, { prefix: "\uff5e", after: "\u{1f600}" })).toEqual([]);
  });

  it("shows what is under a delete marker that is a common prefix itself, wherever a scan ends", async () => {
    const bucket = await stand.newBucket("Enabled");
    await fill(bucket.bucketId, 4999, 1, { prefix: "a", isDeleteMarker: true });
    await stand.call("deleteObject", bucket, { key: "d/" });
    for (const key of ["d/x", "e"]) await stand.call("put", bucket, key, "x");
    expect(await names(bucket.bucketId, { delimiter: "/" })).toEqual(["d/*", "e"]);
  });

  it("goes on behind a common prefix with a NUL in it that has more keys than the page", async () => {
    const bucket = await stand.newBucket();
    for (const key of ["a\u0000/1", "a\u0000/2", "a\u0000/3", "a\u0000/4", "b", "c"])
      await stand.call("put", bucket, key, "x");
    const first = await page(bucket.bucketId, { delimiter: "/", limit: 2 });
    const second = await page(bucket.bucketId, { delimiter: "/", limit: 2, after: first.next });
    expect([...first.entries, ...second.entries].map((entry) => entry.commonPrefix ?? entry.key)).toEqual([
      "a\u0000/",
      "b",
      "c",
    ]);
  });
});

describe("rows read by a page of 1,000", () => {
  /** Rows that D1 counts for a listing, through a Worker that asks D1 what it read. */
  async function rowsRead(bucketId: number, query: Record<string, unknown>): Promise<number> {
    const page = { prefix: "", delimiter: "", limit: 1000, ...query };
    const { rowsRead } = await stand.call("countRows", "listObjects", bucketId, page);
    expect(rowsRead).toBeGreaterThan(20);
    return rowsRead;
  }

  it("are at most 4 for each key, with 1 and with 100 versions a key", async () => {
    for (const versions of [1, 100]) {
      const bucket = await stand.newBucket("Enabled");
      await fill(bucket.bucketId, 1500, versions);
      expect(await rowsRead(bucket.bucketId, {})).toBeLessThanOrEqual(4 * 1001 + 10);
    }
  });

  it("are at most 4 for each common prefix, with 1,000 keys under each", async () => {
    const bucket = await stand.newBucket("Enabled");
    for (let i = 0; i < 20; i++) await fill(bucket.bucketId, 1000, 1, { prefix: `p${String(i).padStart(2, "0")}/` });
    expect(await rowsRead(bucket.bucketId, { delimiter: "/" })).toBeLessThanOrEqual(4 * 20 + 10);
  });

  it("are at most 4 for each key examined, where delete markers stand in front", async () => {
    const bucket = await stand.newBucket("Enabled");
    await fill(bucket.bucketId, 10_000, 1, { isDeleteMarker: true });
    expect(await rowsRead(bucket.bucketId, {})).toBeLessThanOrEqual(4 * 10_000 + 20);
  });
});

describe("ListObjectVersions", () => {
  it("pages through keys and versions, newest first within a key, and says which is latest", async () => {
    const bucket = await stand.newBucket("Enabled");
    for (const key of ["a", "b", "b", "b", "c/1", "c/2"]) await stand.call("put", bucket, key, "x");
    await stand.call("deleteObject", bucket, { key: "b" });
    const seen: string[] = [];
    let marker: Record<string, string> = {};
    for (;;) {
      const page = await stand.call("listVersions", bucket.bucketId, {
        prefix: "",
        delimiter: "/",
        limit: 2,
        ...marker,
      });
      for (const entry of page.entries) {
        seen.push(entry.commonPrefix ?? `${entry.key}${entry.isLatest ? "!" : ""}${entry.isDeleteMarker ? "x" : ""}`);
      }
      if (page.next === undefined) break;
      marker = { after: page.next, versionIdMarker: page.nextVersionIdMarker };
    }
    expect(seen).toEqual(["a!", "b!x", "b", "b", "b", "c/"]);
  });
});

it("ListObjectVersions goes on with a key whose null version was removed between two pages", async () => {
  const bucket = await stand.newBucket("Enabled");
  for (const body of ["1", "2"]) await stand.call("put", bucket, "k", body);
  await stand.call("setVersioning", bucket.bucketId, "Suspended");
  await stand.call("put", bucket, "k", "3");
  const query = { prefix: "", delimiter: "" };
  const page = await stand.call("listVersions", bucket.bucketId, { ...query, limit: 1 });
  await stand.call("deleteObject", bucket, { key: "k", versionId: "null" });
  const marker = { after: page.next, versionIdMarker: page.nextVersionIdMarker };
  expect((await stand.call("listVersions", bucket.bucketId, { ...query, limit: 10, ...marker })).entries).toHaveLength(
    2,
  );
  const gone = stand.call("listVersions", bucket.bucketId, {
    ...query,
    limit: 10,
    after: "k",
    versionIdMarker: "null",
  });
  await expect(gone).rejects.toMatchObject({ code: "InvalidArgument" });
});

describe("successor", () => {
  it("is greater than everything that begins with the text, and nothing lies between", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", minLength: 1 }), fc.string({ unit: "binary" }), (text, more) => {
        const next = successor(text);
        if (next === undefined) return;
        expect(byUtf8(text + more, next)).toBeLessThan(0);
      }),
    );
    expect(successor("\u{10ffff}")).toBeUndefined();
    expect(successor("a\u{10ffff}")).toBe("b");
    expect(successor("\ud7ff")).toBe("\ue000");
  });
});

it("boundsOf passes over everything under a common prefix that is the marker", () => {
  expect(boundsOf({ prefix: "", delimiter: "/", after: "a/" })).toEqual({
    from: "a0",
    isInclusive: true,
    to: undefined,
  });
  expect(boundsOf({ prefix: "", delimiter: "/", after: "a/b" })).toEqual({
    from: "a/b",
    isInclusive: false,
    to: undefined,
  });
  expect(boundsOf({ prefix: "p", delimiter: "", after: "a" })).toEqual({ from: "p", isInclusive: true, to: "q" });
});
