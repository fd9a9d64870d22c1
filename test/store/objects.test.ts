import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Stand, startStand } from "./stand.ts";

let stand: Stand;
beforeAll(async () => {
  stand = await startStand();
});
afterAll(() => stand.stop());

const versions = async (bucketId: number) =>
  (
    await stand.database
      .prepare("SELECT * FROM versions WHERE bucket_id = ?1 ORDER BY key, version_id DESC")
      .bind(bucketId)
      .all()
  ).results;

describe("an unversioned bucket", () => {
  it("keeps one version of a key, whose id is null", async () => {
    const bucket = await stand.newBucket();
    await stand.call("put", bucket, "k", "one");
    const second = await stand.call("put", bucket, "k", "two");
    expect(second).toMatchObject({ isVersioned: false, version: { isNull: true, size: 3 } });
    expect(await stand.call("get", bucket, "k")).toMatchObject({ text: "two" });
    expect(await versions(bucket.bucketId)).toHaveLength(1);
  });

  it("removes the object on DELETE, without a marker and without a memory", async () => {
    const bucket = await stand.newBucket();
    await stand.call("put", bucket, "k", "one");
    expect(await stand.call("deleteObject", bucket, { key: "k" })).toEqual({ isDeleteMarker: false });
    expect(await versions(bucket.bucketId)).toEqual([]);
    expect((await stand.database.prepare("SELECT count(*) AS n FROM removed").first())!.n).toBe(0);
    expect(await stand.call("deleteObject", bucket, { key: "absent" })).toEqual({ isDeleteMarker: false });
  });

  it("stores a body over 8 KiB as a segment and gives ranges of it", async () => {
    const bucket = await stand.newBucket();
    const text = "0123456789".repeat(2000);
    const { version } = await stand.call("put", bucket, "k", text);
    expect(version).toMatchObject({ storage: "segments", size: 20_000 });
    expect((await stand.call("get", bucket, "k")).text).toBe(text);
    expect((await stand.call("get", bucket, "k", undefined, { offset: 15, length: 7 })).text).toBe("5678901");
    await stand.call("put", bucket, "k", "small");
    const garbage = await stand.database
      .prepare("SELECT * FROM garbage WHERE bucket_id = ?1")
      .bind(bucket.bucketId)
      .all();
    expect(garbage.results).toHaveLength(1);
    expect(await stand.call("emptyGarbage", Date.now())).toBe(0);
    expect(await stand.call("emptyGarbage", Date.now() + 25 * 3600_000)).toBe(1);
  });
});

describe("a versioned bucket", () => {
  it("keeps every version, the greatest id being current", async () => {
    const bucket = await stand.newBucket("Enabled");
    const first = await stand.call("put", bucket, "k", "one");
    const second = await stand.call("put", bucket, "k", "two");
    expect(second.version.versionId > first.version.versionId).toBe(true);
    expect((await stand.call("get", bucket, "k")).text).toBe("two");
    expect((await stand.call("get", bucket, "k", first.version.versionId)).text).toBe("one");
  });

  it("adds a delete marker of its own for each DELETE, also on an absent key", async () => {
    const bucket = await stand.newBucket("Enabled");
    await stand.call("put", bucket, "k", "one");
    const a = await stand.call("deleteObject", bucket, { key: "k" });
    const b = await stand.call("deleteObject", bucket, { key: "k" });
    expect(a.isDeleteMarker && b.isDeleteMarker && a.versionId !== b.versionId).toBe(true);
    expect((await stand.call("deleteObject", bucket, { key: "absent" })).isDeleteMarker).toBe(true);
    expect(await versions(bucket.bucketId)).toHaveLength(4);
    expect((await stand.call("get", bucket, "k")).version.isDeleteMarker).toBe(true);
  });

  it("removes a version by id and remembers that", async () => {
    const bucket = await stand.newBucket("Enabled");
    const { version } = await stand.call("put", bucket, "k", "one");
    await stand.call("put", bucket, "k", "two");
    const removed = await stand.call("deleteObject", bucket, { key: "k", versionId: version.versionId });
    expect(removed).toEqual({ versionId: version.versionId, isDeleteMarker: false });
    expect((await stand.call("get", bucket, "k", version.versionId)).version).toBeUndefined();
    const row = await stand.database
      .prepare("SELECT why FROM removed WHERE bucket_id = ?1")
      .bind(bucket.bucketId)
      .first();
    expect(row).toEqual({ why: "deleted" });
    expect(await stand.call("deleteObject", bucket, { key: "k", versionId: "1234567890123456789" })).toEqual({
      versionId: "1234567890123456789",
      isDeleteMarker: false,
    });
  });
});

describe("a bucket whose versioning is suspended", () => {
  it("replaces the null version and keeps the others", async () => {
    const bucket = await stand.newBucket();
    await stand.call("put", bucket, "k", "null, unversioned");
    await stand.call("setVersioning", bucket.bucketId, "Enabled");
    await stand.call("put", bucket, "k", "one");
    await stand.call("setVersioning", bucket.bucketId, "Suspended");
    await stand.call("put", bucket, "k", "null, suspended");
    expect(await versions(bucket.bucketId)).toHaveLength(2);
    expect((await stand.call("get", bucket, "k", "null")).text).toBe("null, suspended");
    const marker = await stand.call("deleteObject", bucket, { key: "k" });
    expect(marker).toEqual({ versionId: "null", isDeleteMarker: true });
    expect(await versions(bucket.bucketId)).toHaveLength(2);
    expect((await stand.database.prepare("SELECT count(*) AS n FROM removed WHERE why = 'replaced'").first())!.n).toBe(
      2,
    );
  });
});

describe("conditional writes", () => {
  it("let exactly one of 64 PUTs with If-None-Match: * win", async () => {
    const bucket = await stand.newBucket("Enabled");
    const puts = Array.from({ length: 64 }, (_, i) =>
      stand.call("put", bucket, "k", `${i}`, { ifNoneMatch: "*" }).then(
        () => "won",
        (error) => error.code,
      ),
    );
    const results = await Promise.all(puts);
    expect(results.filter((result) => result === "won")).toHaveLength(1);
    expect(results.filter((result) => result === "PreconditionFailed")).toHaveLength(63);
  });

  it("refuse If-Match with another ETag, and on no object with NoSuchKey", async () => {
    const bucket = await stand.newBucket();
    await expect(stand.call("put", bucket, "k", "x", { ifMatch: ["abc"] })).rejects.toMatchObject({
      code: "NoSuchKey",
    });
    const { version } = await stand.call("put", bucket, "k", "x");
    await expect(stand.call("put", bucket, "k", "y", { ifMatch: ["abc"] })).rejects.toMatchObject({
      code: "PreconditionFailed",
    });
    await stand.call("put", bucket, "k", "y", { ifMatch: [version.etag] });
    await expect(
      stand.call("deleteObject", bucket, { key: "k", conditions: { ifMatch: [version.etag] } }),
    ).rejects.toMatchObject({
      code: "PreconditionFailed",
    });
  });
});

it("orders 200 PUTs of one key at once by distinct ids", async () => {
  const bucket = await stand.newBucket("Enabled", 4);
  const written = await Promise.all(Array.from({ length: 200 }, (_, i) => stand.call("put", bucket, "k", `${i}`)));
  const ids = new Set(written.map(({ version }) => version.versionId));
  expect(ids.size).toBe(200);
  const last = await stand.call("get", bucket, "k");
  expect(last.version.versionId).toBe([...ids].sort().at(-1));
});

it("answers NoSuchBucket where there is no bucket", async () => {
  await expect(stand.call("put", { bucketId: 999_999, slots: 1 }, "k", "x")).rejects.toMatchObject({
    code: "NoSuchBucket",
  });
  await expect(stand.call("get", { bucketId: 999_999, slots: 1 }, "k")).rejects.toMatchObject({ code: "NoSuchBucket" });
});

it("keeps keys of any characters apart and whole", async () => {
  const bucket = await stand.newBucket();
  const keys = ["a\u0000b", "a", "a\u0000", " lead", "/x//../y", "😀", "\uffff", "%2E", "a\nb", "é", "e\u0301"];
  for (const key of keys) await stand.call("put", bucket, key, key);
  for (const key of keys) expect((await stand.call("get", bucket, key)).text).toBe(key);
  expect(await versions(bucket.bucketId)).toHaveLength(keys.length);
});
