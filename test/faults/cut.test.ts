import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  PutObjectCommand,
  type PutObjectCommandOutput,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import { startZones, until, type Zones } from "../harness.ts";
import { allVersions, link, type Place, statusOf, versionedBucket } from "../links.ts";

const MIB = 1024 * 1024;
const DROPPED = { code: "ECONNRESET" };
const UNREACHABLE = { name: "ServiceUnavailable", $metadata: { httpStatusCode: 503 } };

let zones: Zones;
/** Two buckets with links both ways. `far` is the zone that is cut off. */
let near: Place;
let far: Place;

beforeAll(async () => {
  zones = await startZones();
});
afterAll(() => zones?.stop());
beforeEach(async () => {
  near = await versionedBucket(zones, "ch-dk-2");
  far = await versionedBucket(zones, "at-vie-1");
  await link(zones, near, far);
  await link(zones, far, near);
});
afterEach(async () => await zones.heal("at-vie-1"));

const put = async ({ client, bucket }: Place, Key: string, Body: string | Buffer = Key) =>
  await client.send(new PutObjectCommand({ Bucket: bucket, Key, Body }));
const remove = async ({ client, bucket }: Place, Key: string) =>
  await client.send(new DeleteObjectCommand({ Bucket: bucket, Key }));

async function read({ client, bucket }: Place, Key: string): Promise<Buffer> {
  const { Body } = await client.send(new GetObjectCommand({ Bucket: bucket, Key }));
  return Buffer.from(await Body!.transformToByteArray());
}

/** Both buckets hold the same versions, no fewer than `count`. */
async function areEqual(count: number): Promise<true> {
  const [here, there] = await Promise.all([near, far].map(allVersions));
  expect(here!.length).toBeGreaterThanOrEqual(count);
  expect(there).toEqual(here);
  return true;
}

/** All is there within `deadline` milliseconds, and no receipt is missing. */
async function travelled(count: number, deadline = 15_000): Promise<void> {
  await until(async () => await areEqual(count), { deadline, interval: 200 });
  for (const { zone } of [near, far]) {
    const index = await zones.d1(zone);
    await until(async () => (await index.prepare("SELECT 1 FROM outbox LIMIT 1").first()) === null);
  }
}

/** Puts and deletes, one after the other, until told to stop; gives how long each took, in milliseconds. */
async function load(place: Place, name: string, isOver: () => boolean): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; !isOver(); i++) {
    const start = performance.now();
    if (i % 10 === 9) await remove(place, `${name}-${i - 1}`);
    else await put(place, `${name}-${i}`);
    times.push(performance.now() - start);
  }
  return times;
}

const median = (times: number[]) => times.sort((a, b) => a - b)[Math.floor(times.length / 2)]!;

it("a zone that is cut off under load delays nobody elsewhere, and has all objects and markers 15 s after it is healed", async () => {
  let isOver = false;
  const writers = ["a", "b", "c", "d"].map((name) => load(near, name, () => isOver));
  await until(async () => (await allVersions(far)).length > 20); // the links are in full swing
  await zones.cut("at-vie-1");
  const start = Date.now();
  const during = load(near, "during", () => Date.now() > start + 2000);
  await expect(put(far, "to-itself")).rejects.toMatchObject(DROPPED);
  await expect(put({ ...far, client: near.client }, "through-the-other")).rejects.toMatchObject(UNREACHABLE);
  const times = await during;
  isOver = true;
  const written = (await Promise.all(writers)).flat().length + times.length;
  expect(median(times)).toBeLessThan(200);
  expect(Math.max(...times)).toBeLessThan(2000);
  expect(await statusOf(near, "during-0")).toBe("PENDING");
  await zones.heal("at-vie-1");
  await travelled(written);
  expect(await statusOf(near, "during-0")).toBe("COMPLETED");
  expect(await statusOf(far, "during-0")).toBe("REPLICA");
}, 90_000);

it("what clients wrote on both sides of a partition is kept on both, and the greater id is current", async () => {
  await zones.cut("at-vie-1", "zones");
  const written: string[] = [];
  for (let i = 0; i < 20; i++) {
    const answers = await Promise.all([put(near, `k-${i % 5}`, `n${i}`), put(far, `k-${i % 5}`, `f${i}`)]);
    written.push(...answers.map(({ VersionId }) => VersionId!));
  }
  written.push((await remove(near, "k-0")).VersionId!);
  await expect(put({ ...far, client: near.client }, "k")).rejects.toMatchObject(UNREACHABLE);
  await expect(put({ ...near, client: far.client }, "k")).rejects.toMatchObject(UNREACHABLE);
  for (const place of [near, far]) expect(await statusOf(place, "k-1")).toBe("PENDING");
  expect(await allVersions(near)).toHaveLength(21);
  expect(await allVersions(far)).toHaveLength(20);
  await zones.heal("at-vie-1");
  await travelled(written.length);
  const versions = (await allVersions(near)).map((line) => line.split(" "));
  expect(versions.map(([, id]) => id).sort()).toEqual(written.sort());
  for (const key of ["k-0", "k-1", "k-2", "k-3", "k-4"]) {
    const ids = versions.filter(([name]) => name === key).map(([, id]) => id!);
    const current = versions.find((line) => line[0] === key && line.at(-1) === "latest");
    expect(current?.[1]).toBe(ids.sort().at(-1));
  }
}, 60_000);

it("a multipart upload that a cut interrupts can be finished after it", async () => {
  const { client, bucket } = far;
  const upload = { Bucket: bucket, Key: "large" };
  const { UploadId } = await client.send(new CreateMultipartUploadCommand(upload));
  const bodies = [Buffer.alloc(5 * MIB, "first"), Buffer.alloc(5 * MIB, "second"), Buffer.from("third")];
  const uploadPart = (part: number) =>
    client.send(new UploadPartCommand({ ...upload, UploadId, PartNumber: part, Body: bodies[part - 1]! }));
  const first = await uploadPart(1);
  const interrupted = uploadPart(2).catch((error) => error);
  await zones.cut("at-vie-1");
  expect(await interrupted).toMatchObject(DROPPED);
  await expect(uploadPart(3)).rejects.toMatchObject(DROPPED);
  await zones.heal("at-vie-1");
  const rest = [await uploadPart(2), await uploadPart(3)];
  const Parts = [first, ...rest].map(({ ETag }, index) => ({ ETag, PartNumber: index + 1 }));
  await client.send(new CompleteMultipartUploadCommand({ ...upload, UploadId, MultipartUpload: { Parts } }));
  for (const place of [far, near]) {
    await until(async () => (await read(place, "large")).equals(Buffer.concat(bodies)), { interval: 200 });
  }
  await until(async () => (await statusOf(far, "large")) === "COMPLETED");
}, 60_000);

it("a request in flight at the cut succeeds or fails, what was acknowledged is there, and nothing is there by half", async () => {
  const keys = Array.from({ length: 60 }, (_, i) => `k-${i}`);
  // Every third is a segment in R2, the others stand in the index.
  const bodyOf = (key: string) => Buffer.alloc(Number(key.slice(2)) % 3 === 0 ? 200_000 : 1000, key);
  const puts = keys.map((key) => put(far, key, bodyOf(key)));
  const settled = Promise.allSettled(puts);
  await Promise.any(puts);
  const dropped = await zones.cut("at-vie-1");
  const answers = new Map((await settled).map((result, i) => [keys[i]!, result]));
  await zones.heal("at-vie-1");
  const acknowledged = keys.filter((key) => answers.get(key)!.status === "fulfilled");
  const failed = keys.filter((key) => answers.get(key)!.status === "rejected");
  expect(dropped).toBeGreaterThan(0);
  expect(failed.length).toBeGreaterThan(0);
  expect(acknowledged.length).toBeGreaterThan(0);
  for (const key of failed) expect(answers.get(key)).toMatchObject({ reason: DROPPED });
  // Of what was dropped after its commit, the wake-up may be lost; the sweep comes by every minute.
  await zones.runScheduled("at-vie-1");
  await travelled(acknowledged.length);
  const shown = new Map((await allVersions(near)).map((line) => line.split(" ")).map(([key, id]) => [key, id]));
  for (const key of acknowledged) {
    const { value } = answers.get(key) as PromiseFulfilledResult<PutObjectCommandOutput>;
    expect(shown.get(key)).toBe(value.VersionId);
  }
  for (const key of shown.keys()) {
    for (const place of [near, far]) expect((await read(place, key!)).equals(bodyOf(key!))).toBe(true);
  }
}, 60_000);
