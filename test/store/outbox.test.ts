import { afterAll, beforeAll, expect, it } from "vitest";
import { type Stand, startStand } from "./stand.ts";

let stand: Stand;
beforeAll(async () => {
  stand = await startStand();
});
afterAll(() => stand.stop());

const rule = {
  id: "a",
  priority: 1,
  isEnabled: true,
  prefix: "",
  tags: {},
  replicatesDeleteMarkers: true,
  destination: { bucketId: 77, name: "destination" },
};

async function linked() {
  const bucket = await stand.newBucket("Enabled");
  const row = await stand.call("getBucket", bucket.bucketId);
  await stand.call("putReplication", row, { role: "r", rules: [rule], document: null });
  const [link] = await stand.call("listLinks", bucket.bucketId);
  return { bucket, link };
}

it("a receipt removes exactly the row that it answers, only where the change is what was sent", async () => {
  const { bucket, link } = await linked();
  for (const key of ["a", "b"]) await stand.call("put", bucket, key, "x");
  const [a, b] = await stand.call("listDue", link, 0, 10);
  await stand.call("recordResults", link, 0, [
    { task: { ...a, change: "0" }, arrived: true },
    { task: b, arrived: true },
  ]);
  expect((await stand.call("listDue", link, 0, 10)).map((task: { key: string }) => task.key)).toEqual(["a"]);
  expect((await stand.call("get", bucket, "a")).replicationStatus).toBe("PENDING");
  expect((await stand.call("get", bucket, "b")).replicationStatus).toBe("COMPLETED");
  await stand.call("recordResults", link, 0, [{ task: a, arrived: true }]);
  const minute = await stand.database.prepare("SELECT * FROM link_minutes WHERE link_id = ?1").bind(link.linkId).all();
  const sum = minute.results.reduce((total, row) => total + (row.count as number), 0);
  expect(sum).toBe(2);
  const lags = minute.results.flatMap((row) => Object.values(JSON.parse(row.lag as string)) as number[]);
  expect(lags.reduce((total, n) => total + n, 0)).toBe(2);
});

it("a task that is put off isn't due before its time, and counts its attempts", async () => {
  const { bucket, link } = await linked();
  await stand.call("put", bucket, "a", "x");
  const [task] = await stand.call("listDue", link, 0, 10);
  await stand.call("recordResults", link, 0, [{ task, retry: { error: "e", nextAttemptAt: Date.now() + 3600_000 } }]);
  expect(await stand.call("listDue", link, 0, 10)).toEqual([]);
  const row = await stand.database
    .prepare("SELECT attempts, last_error FROM outbox WHERE link_id = ?1")
    .bind(link.linkId)
    .first();
  expect(row).toEqual({ attempts: 1, last_error: "e" });
  expect(
    (await stand.call("listWakeable", 10)).filter((wake: { linkId: number }) => wake.linkId === link.linkId),
  ).toEqual([]);
});

it("what failed goes back once its cause is another one; what rests on a destination that can't be asked stays", async () => {
  const { bucket, link } = await linked();
  for (const key of ["role", "destination"]) await stand.call("put", bucket, key, "x");
  const tasks = await stand.call("listDue", link, 0, 10);
  const failed = { role: { reason: "R", cause: "role r 1" }, destination: { reason: "D", cause: "destination 1" } };
  const results = tasks.map((task: { key: keyof typeof failed }) => ({ task, failed: failed[task.key] }));
  await stand.call("recordResults", link, 0, results);
  expect((await stand.call("get", bucket, "role")).replicationStatus).toBe("FAILED");
  const requeue = async (causes: { role: string; destination?: string }) =>
    await stand.call("requeueFailed", link, causes);
  await requeue({ role: "role r 1", destination: "destination 1" });
  expect((await stand.call("get", bucket, "role")).replicationStatus).toBe("FAILED");
  await requeue({ role: "role r 2" });
  expect((await stand.call("get", bucket, "role")).replicationStatus).toBe("PENDING");
  expect((await stand.call("get", bucket, "destination")).replicationStatus).toBe("FAILED");
  await requeue({ role: "role r 2", destination: "destination 2" });
  expect((await stand.call("get", bucket, "destination")).replicationStatus).toBe("PENDING");
});

it("what failed for want of the source's own body stays, whatever changes", async () => {
  const { bucket, link } = await linked();
  await stand.call("put", bucket, "a", "x");
  const [task] = await stand.call("listDue", link, 0, 10);
  await stand.call("recordResults", link, 0, [{ task, failed: { reason: "SrcVersionNotFound", cause: "source" } }]);
  await stand.call("requeueFailed", link, { role: "role r 2", destination: "destination 2" });
  expect((await stand.call("get", bucket, "a")).replicationStatus).toBe("FAILED");
});

it("a version that was removed before it was sent is a task without a version; deleting by id ends it at once", async () => {
  const { bucket, link } = await linked();
  const { version } = await stand.call("put", bucket, "a", "x");
  await stand.call("deleteObject", bucket, { key: "a", versionId: version.versionId });
  expect(await stand.call("listDue", link, 0, 10)).toEqual([]);
});
