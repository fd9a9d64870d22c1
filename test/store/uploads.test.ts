import { createHash } from "node:crypto";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Stand, startStand } from "./stand.ts";

const MIB = 1024 * 1024;
let stand: Stand;
beforeAll(async () => {
  stand = await startStand();
});
afterAll(() => stand.stop());

const description = { headers: {}, metadata: {}, tags: {}, checksumAlgorithm: null, checksumType: null };
const count = async (table: string, bucketId: number) =>
  (await stand.database
    .prepare(`SELECT count(*) AS n FROM ${table} WHERE bucket_id = ?1`)
    .bind(bucketId)
    .first<{ n: number }>())!.n;

async function upload(sizes: number[], versioning?: "Enabled") {
  const bucket = await stand.newBucket(versioning);
  const opened = await stand.call("createUpload", bucket, "k", description);
  const parts = [];
  for (const [i, size] of sizes.entries()) parts.push(await stand.call("putPart", opened, i + 1, size));
  return { bucket, opened, parts };
}

it("CompleteMultipartUpload makes the named parts one version, with S3's ETag and part ranges", async () => {
  const { bucket, opened, parts } = await upload([5 * MIB, 6 * MIB, 10]);
  const { version } = await stand.call("completeUpload", bucket, "k", opened.uploadId, parts);
  const md5 = createHash("md5");
  for (const part of parts) md5.update(part.etag, "hex");
  expect(version).toMatchObject({ size: 11 * MIB + 10, etag: `${md5.digest("hex")}-3` });
  const across = await stand.call("get", bucket, "k", undefined, { offset: 5 * MIB - 2, length: 4 });
  expect(across).toMatchObject({ text: "aabb", parts: 3 });
  expect((await stand.call("get", bucket, "k", undefined, { offset: 11 * MIB - 1, length: 3 })).text).toBe("bcc");
  expect(await count("parts", bucket.bucketId)).toBe(0);
});

it("CompleteMultipartUpload repeated with the same parts answers the same, with others NoSuchUpload", async () => {
  const { bucket, opened, parts } = await upload([10], "Enabled");
  const first = await stand.call("completeUpload", bucket, "k", opened.uploadId, parts);
  const again = await stand.call("completeUpload", bucket, "k", opened.uploadId, parts);
  expect(again.version.versionId).toBe(first.version.versionId);
  const other = [{ ...parts[0], etag: "0".repeat(32) }];
  await expect(stand.call("completeUpload", bucket, "k", opened.uploadId, other)).rejects.toMatchObject({
    code: "NoSuchUpload",
  });
  expect(await count("versions", bucket.bucketId)).toBe(1);
});

it("CompleteMultipartUpload twice at once makes one version", async () => {
  const { bucket, opened, parts } = await upload([10], "Enabled");
  const both = await Promise.all(
    [1, 2, 3].map(() => stand.call("completeUpload", bucket, "k", opened.uploadId, parts)),
  );
  expect(new Set(both.map(({ version }) => version.versionId)).size).toBe(1);
  expect(await count("versions", bucket.bucketId)).toBe(1);
});

it("CompleteMultipartUpload refuses absent parts, other ETags, wrong order and small parts", async () => {
  const { bucket, opened, parts } = await upload([10, 10]);
  const complete = (named: unknown[]) => stand.call("completeUpload", bucket, "k", opened.uploadId, named);
  await expect(complete([{ partNumber: 3, etag: parts[0].etag }])).rejects.toMatchObject({ code: "InvalidPart" });
  await expect(complete([{ partNumber: 1, etag: parts[1].etag }])).rejects.toMatchObject({ code: "InvalidPart" });
  await expect(complete([parts[1], parts[0]])).rejects.toMatchObject({ code: "InvalidPartOrder" });
  await expect(complete(parts)).rejects.toMatchObject({ code: "EntityTooSmall" });
  expect(await count("versions", bucket.bucketId)).toBe(0);
});

it("a part that isn't named goes to the garbage, a replaced one too", async () => {
  const { bucket, opened, parts } = await upload([10, 10]);
  const replaced = await stand.call("putPart", opened, 1, 20);
  expect(await count("garbage", bucket.bucketId)).toBe(1);
  await expect(stand.call("completeUpload", bucket, "k", opened.uploadId, [parts[0]])).rejects.toMatchObject({
    code: "InvalidPart",
  });
  await stand.call("completeUpload", bucket, "k", opened.uploadId, [replaced]);
  expect(await count("garbage", bucket.bucketId)).toBe(2);
});

it("AbortMultipartUpload gives up the parts; a part that comes later is NoSuchUpload", async () => {
  const { bucket, opened } = await upload([10]);
  await expect(stand.call("deleteBucket", bucket.bucketId)).rejects.toMatchObject({ code: "BucketNotEmpty" });
  await stand.call("abortUpload", opened);
  await expect(stand.call("putPart", opened, 2, 10)).rejects.toMatchObject({ code: "NoSuchUpload" });
  await expect(stand.call("abortUpload", opened)).rejects.toMatchObject({ code: "NoSuchUpload" });
  expect(await count("parts", bucket.bucketId)).toBe(0);
  await stand.call("deleteBucket", bucket.bucketId);
});

it("ListMultipartUploads pages by key and upload id, and rolls up common prefixes", async () => {
  const bucket = await stand.newBucket();
  for (const key of ["a", "a", "b/1", "b/2", "c"]) await stand.call("createUpload", bucket, key, description);
  const seen: string[] = [];
  let marker: Record<string, string> = {};
  for (;;) {
    const page = await stand.call("listUploads", bucket.bucketId, { prefix: "", delimiter: "/", limit: 2, ...marker });
    seen.push(...page.entries.map((entry: { key?: string; commonPrefix?: string }) => entry.key ?? entry.commonPrefix));
    if (page.next === undefined) break;
    marker = { after: page.next, uploadIdMarker: page.nextUploadIdMarker };
  }
  expect(seen).toEqual(["a", "a", "b/", "c"]);
});
