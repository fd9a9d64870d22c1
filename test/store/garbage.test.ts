import { afterAll, beforeAll, expect, it } from "vitest";
import { type Stand, startStand } from "./stand.ts";

const DAY = 24 * 3600_000;
const description = { headers: {}, metadata: {}, tags: {}, checksumAlgorithm: null, checksumType: null };
let stand: Stand;
beforeAll(async () => {
  stand = await startStand();
});
afterAll(() => stand.stop());

it("the scrub removes bodies older than a week that no row names, and no others", async () => {
  const bucket = await stand.newBucket();
  await stand.call("put", bucket, "kept", "x".repeat(10_000));
  await stand.call("put", bucket, "orphaned", "y".repeat(10_000));
  const upload = await stand.call("createUpload", bucket, "ä key", description);
  await stand.call("putPart", upload, 1, 10_000);
  await stand.database.prepare("DELETE FROM segments WHERE key = 'orphaned'").run();
  await stand.call("scrub", Date.now());
  await stand.call("scrub", Date.now() + 7.5 * DAY);
  expect((await stand.call("get", bucket, "kept")).text).toHaveLength(10_000);
  expect(await stand.call("countBlobs")).toBe(2);
});

it("a closed upload is forgotten after a week, a hidden one that nothing arrived in is given up", async () => {
  const bucket = await stand.newBucket("Enabled");
  const done = await stand.call("createUpload", bucket, "done", description);
  const part = await stand.call("putPart", done, 1, 10);
  await stand.call("completeUpload", bucket, "done", done.uploadId, [part]);
  const hidden = await stand.call("openReplicaUpload", bucket, "hidden", { sourceBucketId: 9, versionId: "1" });
  await stand.call("putPart", hidden, 1, 10);
  await stand.call("createUpload", bucket, "open", description);
  const states = async () =>
    (
      await stand.database
        .prepare("SELECT key, state FROM uploads WHERE bucket_id = ?1 ORDER BY key")
        .bind(bucket.bucketId)
        .all()
    ).results;
  await stand.call("clearUploads", Date.now() + 6 * DAY);
  expect(await states()).toHaveLength(3);
  await stand.call("clearUploads", Date.now() + 8 * DAY);
  expect(await states()).toEqual([{ key: "open", state: "open" }]);
  expect(
    (await stand.database
      .prepare("SELECT count(*) AS n FROM parts WHERE bucket_id = ?1")
      .bind(bucket.bucketId)
      .first())!.n,
  ).toBe(0);
});

it("a hidden upload that was given up opens again, empty; two keys with one version id have one each", async () => {
  const bucket = await stand.newBucket("Enabled");
  const replica = { sourceBucketId: 9, versionId: "2" };
  const open = async (key: string) => await stand.call("openReplicaUpload", bucket, key, replica);
  await stand.call("putPart", await open("k"), 1, 10);
  await stand.database
    .prepare("UPDATE uploads SET touched_at = touched_at - ?1")
    .bind(8 * DAY)
    .run();
  await stand.call("clearUploads", Date.now());
  const again = await open("k");
  expect(await stand.call("listParts", again, { after: 0, limit: 10 })).toEqual([]);
  await stand.call("putPart", again, 1, 10);
  await stand.call("putPart", await open("other"), 1, 20);
  expect(await stand.call("listParts", again, { after: 0, limit: 10 })).toMatchObject([{ size: 10 }]);
});

it("a hidden upload is not listed and keeps no bucket from being deleted", async () => {
  const bucket = await stand.newBucket("Enabled");
  await stand.call("openReplicaUpload", bucket, "hidden", { sourceBucketId: 9, versionId: "1" });
  expect((await stand.call("listUploads", bucket.bucketId, { prefix: "", delimiter: "", limit: 10 })).entries).toEqual(
    [],
  );
  await stand.call("deleteBucket", bucket.bucketId);
});
