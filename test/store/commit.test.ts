import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Stand, startStand } from "./stand.ts";

let stand: Stand;
beforeAll(async () => {
  stand = await startStand();
});
afterAll(() => stand.stop());

const codes = (outcomes: { code?: string; version?: unknown }[]) => outcomes.map(({ code }) => code ?? "done");

describe("a batch whose answer was lost", () => {
  it("and that was never written: its removal isn't acknowledged, and its replica is judged by what is there", async () => {
    const bucket = await stand.newBucket("Enabled");
    const { version } = await stand.call("put", bucket, "a", "1");
    const other = await stand.call("put", bucket, "b", "1");
    const same = { ...version, source: 9, receivedAt: 1, requestId: "other" };
    const merge = { kind: "merge", key: "a", requestId: "other", version: same };
    const remove = { kind: "remove", key: "b", requestId: "r", versionId: other.version.versionId };
    await stand.call("loseAnswer", false);
    const outcomes = await stand.call("commitAll", bucket, [merge, remove]);
    expect(codes(outcomes)).toEqual(["ServiceUnavailable", "ServiceUnavailable"]);
    expect((await stand.call("get", bucket, "b")).text).toBe("1");
    const conflict = { ...merge, version: { ...same, size: 99 } };
    expect(codes(await stand.call("commitAll", bucket, [conflict]))).toEqual(["VersionIdConflict"]);
  });

  it("and that was written is known by its new ids", async () => {
    const bucket = await stand.newBucket("Enabled");
    await stand.call("put", bucket, "a", "1");
    await stand.call("loseAnswer", true);
    const { version } = await stand.call("put", bucket, "a", "2");
    const page = await stand.call("listVersions", bucket.bucketId, { prefix: "", delimiter: "", limit: 10 });
    expect(page.entries).toHaveLength(2);
    expect(page.entries[0].versionId).toBe(version.versionId);
  });
});

describe("a group stays below what D1 takes", () => {
  const draft = {
    headers: {},
    metadata: {},
    tags: {},
    size: 0,
    etag: "d41d8cd98f00b204e9800998ecf8427e",
    storage: "inline",
    checksum: null,
  };
  const puts = (count: number, key: (i: number) => string, metadata = {}) =>
    Array.from({ length: count }, (_, i) => {
      return { kind: "put", key: key(i), requestId: `r${i}`, draft: { ...draft, metadata }, inline: "" };
    });

  it("with ten DeleteObjects of 1,000 keys at once", async () => {
    const bucket = await stand.newBucket("Enabled");
    const deletions = (n: number) =>
      Array.from({ length: 1000 }, (_, i) => ({ key: `folder/some-object-${n}-${i}.txt` }));
    const all = await Promise.all(
      Array.from({ length: 10 }, (_, n) => stand.call("deleteObjects", bucket, deletions(n))),
    );
    expect(all.flat().filter(({ isDeleteMarker }) => !isDeleteMarker)).toEqual([]);
  });

  it("with long keys of three bytes a character, and with metadata full of quotes", async () => {
    const bucket = await stand.newBucket("Enabled");
    const long = await stand.call(
      "commitAll",
      bucket,
      puts(2000, (i) => `${i}-${"漢".repeat(330)}`),
    );
    expect(new Set(codes(long))).toEqual(new Set(["done"]));
    const quoted = await stand.call(
      "commitAll",
      bucket,
      puts(2000, (i) => `${i}`, { a: '"\\'.repeat(500) }),
    );
    expect(new Set(codes(quoted))).toEqual(new Set(["done"]));
  });
});

it("DELETE of an absent key makes a delete marker as soon as versioning is enabled", async () => {
  const bucket = await stand.newBucket();
  expect(await stand.call("deleteObject", bucket, { key: "absent" })).toEqual({ isDeleteMarker: false });
  await stand.call("setVersioning", bucket.bucketId, "Enabled");
  expect((await stand.call("deleteObject", bucket, { key: "absent" })).isDeleteMarker).toBe(true);
});
