/** A commit whose first try was done by another instance of the slot, seen by one that knows an older bucket. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Stand, startStand } from "./stand.ts";

let stand: Stand;
beforeAll(async () => {
  stand = await startStand();
});
afterAll(() => stand.stop());

it("a repeated commit tells the id of a version that was written once versioning was enabled", async () => {
  const bucket = await stand.newBucket();
  const draft = { headers: {}, metadata: {}, tags: {}, size: 1, etag: "e", storage: "inline", checksum: null };
  const put = { kind: "put", key: "k", requestId: "r", draft, inline: Buffer.from("x").toString("base64") };
  const [first] = await stand.call("commitAll", bucket, [put]);
  expect(first.isVersioned).toBe(false);
  // As another instance would have left it: this one has read the bucket before.
  await stand.call("setVersioning", bucket.bucketId, "Enabled");
  await stand.database.prepare("UPDATE versions SET is_null = 0 WHERE bucket_id = ?1").bind(bucket.bucketId).run();
  const [again] = await stand.call("commitAll", bucket, [{ ...put, isRepeat: true }]);
  expect(again).toMatchObject({ isVersioned: true, version: { versionId: first.version.versionId } });
});
