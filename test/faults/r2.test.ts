import { createHash } from "node:crypto";
import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  PutObjectCommand,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { startZones, until, type Zones } from "../harness.ts";
import { allVersions, link, type Place, statusOf, versionedBucket } from "../links.ts";
import type { Fault } from "./armed.ts";
import { arm, completions, ENTRY, expectStruck, heal, seen } from "./arming.ts";

const ZONE = "ch-dk-2";
const MIB = 1024 * 1024;
const LARGE = Buffer.alloc(300_000, "x");
const UNAVAILABLE = "503 ServiceUnavailable";

let zones: Zones;
let place: Place;
beforeAll(async () => {
  zones = await startZones({ entry: ENTRY });
  place = await versionedBucket(zones, ZONE);
});
afterAll(() => zones?.stop());
beforeEach(() => heal(zones));

const fault = async (at: string, faults: Omit<Fault, "at">) => await arm(zones, ZONE, [{ at, ...faults }]);
const send = (Key: string, options: object = {}) =>
  place.client.send(new PutObjectCommand({ Bucket: place.bucket, Key, Body: LARGE, ...options }));
const versionsOf = async (key: string) => (await allVersions(place)).filter((line) => line.startsWith(`${key} `));

async function get(key: string): Promise<Buffer> {
  const { Body } = await place.client.send(new GetObjectCommand({ Bucket: place.bucket, Key: key }));
  return Buffer.from(await Body!.transformToByteArray());
}

/** How many bytes of R2 wait for the sweep to be deleted. */
async function garbage(): Promise<number> {
  const index = await zones.d1(ZONE);
  return (await index.prepare("SELECT count(*) AS n FROM garbage").first<number>("n"))!;
}

describe.each(["fails before", "fails after"] as const)("R2 %s it stored", (how) => {
  it("a PUT: the client sees 503 ServiceUnavailable, no version is there, and its repeat makes one", async () => {
    const key = `put-${how}`;
    await fault("BLOBS.put", { how, times: 1 });
    expect(await seen(send(key))).toBe(UNAVAILABLE);
    await expectStruck(zones, ZONE, 1);
    expect(await versionsOf(key)).toEqual([]);
    await send(key);
    expect(await versionsOf(key)).toHaveLength(1);
    expect(LARGE.equals(await get(key))).toBe(true);
  });

  it("an overwrite: the client sees 503 ServiceUnavailable, and the former object stays whole", async () => {
    const key = `overwrite-${how}`;
    await send(key);
    await fault("BLOBS.put", { how, times: 1 });
    expect(await seen(send(key, { Body: Buffer.alloc(300_000, "y") }))).toBe(UNAVAILABLE);
    await expectStruck(zones, ZONE, 1);
    expect(LARGE.equals(await get(key))).toBe(true);
  });

  it("an UploadPart: the client sees 503 ServiceUnavailable, and its repeat is the part", async () => {
    const upload = { Bucket: place.bucket, Key: `part-${how}` };
    const { UploadId } = await place.client.send(new CreateMultipartUploadCommand(upload));
    const part = new UploadPartCommand({ ...upload, UploadId, PartNumber: 1, Body: LARGE });
    await fault("BLOBS.put", { how, times: 1 });
    expect(await seen(place.client.send(part))).toBe(UNAVAILABLE);
    await expectStruck(zones, ZONE, 1);
    const { ETag } = await place.client.send(part);
    const MultipartUpload = { Parts: [{ PartNumber: 1, ETag }] };
    await place.client.send(new CompleteMultipartUploadCommand({ ...upload, UploadId, MultipartUpload }));
    expect(LARGE.equals(await get(upload.Key))).toBe(true);
  });
});

it("R2 that can't be read: a GET is answered 503 ServiceUnavailable, and the object once it can", async () => {
  await send("unread");
  await fault("BLOBS.get", { how: "fails before", times: 1 });
  expect(await seen(get("unread"))).toBe(UNAVAILABLE);
  await expectStruck(zones, ZONE, 1);
  expect(LARGE.equals(await get("unread"))).toBe(true);
});

/** An object of two parts: 5 MiB and a little. */
async function putTwoParts(key: string): Promise<Buffer> {
  const upload = { Bucket: place.bucket, Key: key };
  const { UploadId } = await place.client.send(new CreateMultipartUploadCommand(upload));
  const bodies = [Buffer.alloc(5 * MIB, "1"), LARGE];
  const Parts = [];
  for (const [i, Body] of bodies.entries()) {
    const part = { ...upload, UploadId, PartNumber: i + 1 };
    const { ETag } = await place.client.send(new UploadPartCommand({ ...part, Body }));
    Parts.push({ PartNumber: i + 1, ETag });
  }
  const complete = { ...upload, UploadId, MultipartUpload: { Parts } };
  await place.client.send(new CompleteMultipartUploadCommand(complete));
  return Buffer.concat(bodies);
}

it.each([
  ["breaks half way through an object", "breaks", 0, (key: string) => send(key)],
  ["breaks half way through its last part", "breaks", 1, (key: string) => putTwoParts(key)],
  ["fails at its last part", "fails before", 1, (key: string) => putTwoParts(key)],
] as const)(
  "R2 that %s: the client sees a cut connection, never a short body that it would take for whole",
  async (_, how, spares, make) => {
    const key = `cut-${how}-${spares}`;
    await make(key);
    const whole = await get(key);
    await fault("BLOBS.get", { how, spares, times: 1 });
    await expect(get(key)).rejects.toMatchObject({ code: "ECONNRESET" });
    await expectStruck(zones, ZONE, 1);
    expect(whole.equals(await get(key))).toBe(true);
  },
);

it("R2 that can't delete: a conditional PUT that is refused sees 412 PreconditionFailed all the same", async () => {
  await send("conditional");
  await fault("BLOBS.delete", { how: "fails before", times: 1 });
  expect(await seen(send("conditional", { IfNoneMatch: "*" }))).toBe("412 PreconditionFailed");
  await expectStruck(zones, ZONE, 1);
  expect(await versionsOf("conditional")).toHaveLength(1);
});

it("R2 that can't delete: a replaced body stays for the next sweep, and the client sees 200 and 204", async () => {
  const { client, bucket } = place;
  const { VersionId } = await send("deleted");
  expect(await seen(client.send(new DeleteObjectCommand({ Bucket: bucket, Key: "deleted", VersionId })))).toBe("204");
  const index = await zones.d1(ZONE);
  await index.prepare("UPDATE garbage SET due_at = 0").run();
  const before = await garbage();
  await fault("BLOBS.delete", { how: "fails before", times: 1 });
  await zones.runScheduled(ZONE);
  await expectStruck(zones, ZONE, 1);
  expect(await garbage()).toBe(before);
  await zones.runScheduled(ZONE);
  expect(await garbage()).toBe(0);
});

const REPLICATION: [title: string, zone: string, at: string, how: Fault["how"]][] = [
  ["can't be read at the source", ZONE, "BLOBS.get", "fails before"],
  ["breaks half way at the source", ZONE, "BLOBS.get", "breaks"],
  ["fails before it stored at the destination", "at-vie-1", "BLOBS.put", "fails before"],
  ["fails after it stored at the destination", "at-vie-1", "BLOBS.put", "fails after"],
];

it.each(REPLICATION)(
  "R2 that %s: the client sees PENDING, then COMPLETED, and one whole replica",
  async (_, zone, at, how) => {
    const source = await versionedBucket(zones, ZONE);
    const destination = await versionedBucket(zones, "at-vie-1");
    await link(zones, source, destination);
    await arm(zones, zone, [{ at, how, times: 1 }]);
    await source.client.send(new PutObjectCommand({ Bucket: source.bucket, Key: "k", Body: LARGE }));
    await until(async () => await expectStruck(zones, zone, 1).then(() => true), { interval: 10 });
    expect(await statusOf(source, "k")).toBe("PENDING");
    await until(async () => (await statusOf(source, "k")) === "COMPLETED");
    expect(await completions(zones, source, destination)).toBe(1);
    expect(await allVersions(destination)).toEqual(await allVersions(source));
    const { ETag, Body } = await destination.client.send(
      new GetObjectCommand({ Bucket: destination.bucket, Key: "k" }),
    );
    expect(ETag).toBe(
      `"${createHash("md5")
        .update(await Body!.transformToByteArray())
        .digest("hex")}"`,
    );
  },
);
