import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  PutObjectCommand,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { startZones, until, type Zones } from "../harness.ts";
import { allVersions, link, type Place, statusOf, versionedBucket } from "../links.ts";
import type { Fault } from "./armed.ts";
import { arm, ENTRY, heal, report } from "./arming.ts";

const MIB = 1024 * 1024;
let zones: Zones;
let leader: Place;
let follower: Place;

beforeAll(async () => {
  zones = await startZones({ entry: ENTRY });
});
afterAll(() => zones?.stop());
beforeEach(async () => {
  await heal(zones);
  leader = await versionedBucket(zones, "ch-dk-2");
  follower = await versionedBucket(zones, "at-vie-1");
  await link(zones, leader, follower);
});

/** Spoils the destination's door for replicas. */
const spoil = async (fault: Omit<Fault, "at">) => await arm(zones, "at-vie-1", [{ at: "PEER.serve", ...fault }]);
const put = async (key: string, body: string | Uint8Array = key) =>
  await leader.client.send(new PutObjectCommand({ Bucket: leader.bucket, Key: key, Body: body }));

it("a destination that is down leaves versions PENDING, delays no client, and has all, markers too, 15 s after its return", async () => {
  await spoil({ how: "fails before" });
  const times: number[] = [];
  for (let i = 0; i < 20; i++) {
    const start = performance.now();
    await put(`k-${i}`);
    times.push(performance.now() - start);
  }
  await leader.client.send(new DeleteObjectCommand({ Bucket: leader.bucket, Key: "k-0" }));
  expect(times.sort((a, b) => a - b)[10]).toBeLessThan(200);
  const index = await zones.d1("ch-dk-2");
  await until(
    async () => (await index.prepare("SELECT down_since FROM links WHERE down_since IS NOT NULL").first()) !== null,
  );
  expect(await statusOf(leader, "k-1")).toBe("PENDING");
  expect(await allVersions(follower)).toEqual([]);
  await heal(zones);
  await until(async () => (await allVersions(follower)).length === 21, { deadline: 15_000 });
  expect(await allVersions(follower)).toEqual(await allVersions(leader));
  await until(async () => (await statusOf(leader, "k-1")) === "COMPLETED");
}, 60_000);

it("a version that alone fails again and again backs off alone and holds up none of the others", async () => {
  await spoil({ how: "answers", status: 500, naming: "poisoned-key" });
  await Promise.all(Array.from({ length: 30 }, (_, i) => put(i === 7 ? "poisoned-key" : `k-${i}`)));
  await until(async () => (await report(zones, "at-vie-1")).strokes[0]! > 0);
  await until(async () => (await allVersions(follower)).length === 29);
  expect(await statusOf(leader, "poisoned-key")).toBe("PENDING");
  await until(async () => (await statusOf(leader, "k-8")) === "COMPLETED");
  await heal(zones);
  await until(async () => (await statusOf(leader, "poisoned-key")) === "COMPLETED");
}, 60_000);

it("a large object resumes at the piece where it stopped", async () => {
  const { bucket, client } = leader;
  const { UploadId } = await client.send(new CreateMultipartUploadCommand({ Bucket: bucket, Key: "large" }));
  const Parts = [];
  for (let PartNumber = 1; PartNumber <= 4; PartNumber++) {
    const Body = Buffer.alloc(PartNumber < 4 ? 5 * MIB : 100, `${PartNumber}`);
    const { ETag } = await client.send(
      new UploadPartCommand({ Bucket: bucket, Key: "large", UploadId, PartNumber, Body }),
    );
    Parts.push({ PartNumber, ETag });
  }
  // The question which pieces are wanted, and two of them.
  await spoil({ how: "fails before", spares: 3 });
  const complete = { Bucket: bucket, Key: "large", UploadId, MultipartUpload: { Parts } };
  const { ETag, VersionId } = await client.send(new CompleteMultipartUploadCommand(complete));
  const index = await zones.d1("ch-dk-2");
  await until(async () => (await index.prepare("SELECT 1 FROM links WHERE down_since IS NOT NULL").first()) !== null);
  expect((await report(zones, "at-vie-1")).journal).toEqual([
    "batch",
    expect.stringContaining('"partNumber":1'),
    expect.stringContaining('"partNumber":2'),
  ]);
  await heal(zones);
  await until(async () => (await statusOf(leader, "large")) === "COMPLETED", { deadline: 20_000 });
  const { journal } = await report(zones, "at-vie-1");
  const pieces = journal.filter((line) => line.startsWith("piece"));
  expect(pieces).toEqual([expect.stringContaining('"partNumber":3'), expect.stringContaining('"partNumber":4')]);
  const replica = await follower.client.send(
    new GetObjectCommand({ Bucket: follower.bucket, Key: "large", PartNumber: 3 }),
  );
  expect(replica).toMatchObject({ ETag, VersionId, PartsCount: 4, ReplicationStatus: "REPLICA" });
  expect(Buffer.from(await replica.Body!.transformToByteArray()).equals(Buffer.alloc(5 * MIB, "3"))).toBe(true);
}, 60_000);

it.each(["hangs", "stalls"] as const)(
  "a destination that %s is left alone after a time, and the other links of the zone go on",
  async (how) => {
    const near = await versionedBucket(zones, "ch-dk-2");
    const other = await versionedBucket(zones, "ch-dk-2");
    await link(zones, near, other);
    await spoil({ how });
    await put("hanging");
    const sent = performance.now();
    await near.client.send(new PutObjectCommand({ Bucket: near.bucket, Key: "k", Body: "x" }));
    await until(async () => (await statusOf(near, "k")) === "COMPLETED", { deadline: 40_000 });
    // The local simulator runs a queue's batches one after the other, so they wait for the patience with one request.
    expect(performance.now() - sent).toBeLessThan(15_000);
    expect(await statusOf(leader, "hanging")).toBe("PENDING");
    await heal(zones);
    await until(async () => (await statusOf(leader, "hanging")) === "COMPLETED", { deadline: 40_000 });
  },
  120_000,
);

it("several busy links of a zone share what one invocation may call, and none is put down by it", async () => {
  const sources: Place[] = [];
  for (let i = 0; i < 6; i++) {
    const source = await versionedBucket(zones, "ch-dk-2");
    await link(zones, source, await versionedBucket(zones, "at-vie-1"));
    sources.push(source);
  }
  await spoil({ how: "fails before" });
  const puts = sources.flatMap(({ client, bucket }) =>
    Array.from({ length: 12 }, (_, i) =>
      client.send(new PutObjectCommand({ Bucket: bucket, Key: `k-${i}`, Body: "x".repeat(9000) })),
    ),
  );
  await Promise.all(puts);
  await heal(zones);
  const index = await zones.d1("ch-dk-2");
  await index.prepare("UPDATE links SET down_since = NULL, next_probe_at = NULL, probes = 0").run();
  await zones.runScheduled("ch-dk-2");
  for (const source of sources) {
    await until(async () => (await statusOf(source, "k-11")) === "COMPLETED", { deadline: 30_000 });
  }
  const { journal } = await report(zones, "ch-dk-2");
  const most = Math.max(...journal.map((line) => Number(/^(\d+) calls$/.exec(line)?.[1] ?? 0)));
  // Many enough that a budget for each link would have been overdrawn.
  expect(most).toBeGreaterThan(16);
  expect(most).toBeLessThanOrEqual(32);
}, 90_000);
