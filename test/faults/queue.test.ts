import { DeleteObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { startZones, until, type Zones } from "../harness.ts";
import {
  allVersions,
  link,
  makeRole,
  type Place,
  putReplication,
  ruleTo,
  seedPolicy,
  statusOf,
  versionedBucket,
} from "../links.ts";
import type { Fault } from "./armed.ts";
import { arm, completions, ENTRY, expectStruck, heal, seen } from "./arming.ts";

const ZONE = "ch-dk-2";

let zones: Zones;
let source: Place;
let destination: Place;
beforeAll(async () => {
  zones = await startZones({ entry: ENTRY });
});
afterAll(() => zones?.stop());
beforeEach(async () => {
  await heal(zones);
  source = await versionedBucket(zones, ZONE);
  destination = await versionedBucket(zones, "at-vie-1");
  await link(zones, source, destination);
});

/** Twelve PUTs, some at once, and a DELETE: thirteen versions. */
async function write(): Promise<void> {
  const { client, bucket } = source;
  const put = (Key: string, Body: string) => seen(client.send(new PutObjectCommand({ Bucket: bucket, Key, Body })));
  for (let i = 0; i < 3; i++) {
    const puts = Array.from({ length: 4 }, (_, n) => put(`k-${n}`, n === 0 ? "x".repeat(20_000) : `${i}`));
    expect(await Promise.all(puts)).toEqual(["200", "200", "200", "200"]);
  }
  expect(await seen(client.send(new DeleteObjectCommand({ Bucket: bucket, Key: "k-3" })))).toBe("204");
}

async function expectAllThereOnce(): Promise<void> {
  await until(async () => (await allVersions(destination)).length === 13);
  await until(async () => (await completions(zones, source, destination)) === 13);
  for (const key of ["k-0", "k-1", "k-2"]) expect(await statusOf(source, key)).toBe("COMPLETED");
  expect(await allVersions(destination)).toEqual(await allVersions(source));
  const index = await zones.d1("at-vie-1");
  const stored = await index
    .prepare(
      "SELECT count(*) AS n, count(DISTINCT r2_key) AS d FROM segments s JOIN buckets b USING (bucket_id) WHERE b.name = ?",
    )
    .bind(destination.bucket)
    .first();
  expect(stored).toEqual({ n: 3, d: 3 });
}

it("messages that are lost leave versions PENDING, and the sweep sends them: the client sees 200, then COMPLETED", async () => {
  await arm(zones, ZONE, [{ at: "REPLICATION.send", how: "is lost" }]);
  await write();
  await expectStruck(zones, ZONE);
  expect(await statusOf(source, "k-0")).toBe("PENDING");
  expect(await allVersions(destination)).toEqual([]);
  await heal(zones);
  await zones.runScheduled(ZONE);
  await expectAllThereOnce();
});

it("a queue that takes no message fails no write: the client sees 200, and COMPLETED after a sweep", async () => {
  await arm(zones, ZONE, [{ at: "REPLICATION.send", how: "fails before" }]);
  await write();
  await expectStruck(zones, ZONE);
  expect(await statusOf(source, "k-0")).toBe("PENDING");
  await heal(zones);
  await zones.runScheduled(ZONE);
  await expectAllThereOnce();
});

it("a queue that takes no message: a PutBucketReplication sees 503 ServiceUnavailable, and 200 when it is repeated", async () => {
  const role = await makeRole(zones, seedPolicy(source.bucket, destination.bucket));
  await arm(zones, ZONE, [{ at: "REPLICATION.send", how: "fails before", times: 1 }]);
  const configure = () => putReplication(source, role, [ruleTo(destination.bucket)]);
  await expect(configure()).rejects.toMatchObject({ name: "ServiceUnavailable" });
  await expectStruck(zones, ZONE, 1);
  await configure();
  await write();
  await expectAllThereOnce();
});

it.each<[string, Fault]>([
  ["come twice", { at: "REPLICATION.send", how: "is doubled" }],
  ["come two seconds late", { at: "REPLICATION.send", how: "is delayed" }],
  ["are consumed twice at once", { at: "QUEUE.consume", how: "is doubled" }],
])("messages that %s: the client sees COMPLETED, and each version is there once", async (_, fault) => {
  await arm(zones, ZONE, [fault]);
  await write();
  await expectAllThereOnce();
  await expectStruck(zones, ZONE);
});

it("messages that overtake one another: the client sees COMPLETED for both links, and each version is there once", async () => {
  const others = [await versionedBucket(zones, ZONE), await versionedBucket(zones, ZONE)];
  for (const other of others) await link(zones, other, await versionedBucket(zones, "at-vie-1"));
  await arm(zones, ZONE, [{ at: "REPLICATION.send", how: "is reordered", times: 3 }]);
  await write();
  for (const { client, bucket } of others) {
    await client.send(new PutObjectCommand({ Bucket: bucket, Key: "k", Body: "x" }));
  }
  await expectStruck(zones, ZONE, 3);
  for (const other of others) await until(async () => (await statusOf(other, "k")) === "COMPLETED");
  await expectAllThereOnce();
});
