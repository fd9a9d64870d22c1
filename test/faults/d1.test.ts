import { createHash } from "node:crypto";
import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetBucketVersioningCommand,
  GetObjectCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
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
const LARGE = "x".repeat(20_000);
const UNAVAILABLE = "503 ServiceUnavailable";
const HOWS = ["fails before", "fails after"] as const;

let zones: Zones;
let place: Place;
beforeAll(async () => {
  zones = await startZones({ entry: ENTRY });
  place = await versionedBucket(zones, ZONE);
});
afterAll(() => zones?.stop());
beforeEach(() => heal(zones));

const fault = async (faults: Omit<Fault, "at">, at = "INDEX.batch") => await arm(zones, ZONE, [{ at, ...faults }]);
const put = (key: string, options: object = {}) =>
  seen(place.client.send(new PutObjectCommand({ Bucket: place.bucket, Key: key, Body: key, ...options })));
const versionsOf = async (key: string) => (await allVersions(place)).filter((line) => line.startsWith(`${key} `));
let keys = 0;
const newKey = () => `k-${++keys}`;

async function expectBody(key: string, body: string): Promise<void> {
  const answer = await place.client.send(new GetObjectCommand({ Bucket: place.bucket, Key: key }));
  expect(await answer.Body!.transformToString()).toBe(body);
}

describe("D1 fails before it committed", () => {
  const before = { how: "fails before", in: "sequencer", times: 1 } as const;

  it.each([
    ["an inline PUT", {}],
    ["a large PUT", { Body: LARGE }],
    ["a conditional PUT", { IfNoneMatch: "*" }],
  ])("%s is answered 503 ServiceUnavailable, leaves nothing, and is done by its repeat", async (_, options) => {
    const key = newKey();
    await fault(before);
    expect(await put(key, options)).toBe(UNAVAILABLE);
    await expectStruck(zones, ZONE, 1);
    expect(await versionsOf(key)).toEqual([]);
    expect(await put(key, options)).toBe("200");
    expect(await versionsOf(key)).toHaveLength(1);
    await expectBody(key, (options as { Body?: string }).Body ?? key);
  });

  it("a DELETE is answered 503 ServiceUnavailable, makes no delete marker, and one when it is repeated", async () => {
    const key = newKey();
    await put(key);
    await fault(before);
    const request = () => seen(place.client.send(new DeleteObjectCommand({ Bucket: place.bucket, Key: key })));
    expect(await request()).toBe(UNAVAILABLE);
    await expectStruck(zones, ZONE, 1);
    await expectBody(key, key);
    expect(await request()).toBe("204");
    expect(await versionsOf(key)).toHaveLength(2);
  });

  it("a DELETE by version id is answered 503 ServiceUnavailable, removes nothing, and that version when it is repeated", async () => {
    const key = newKey();
    const { VersionId } = await place.client.send(new PutObjectCommand({ Bucket: place.bucket, Key: key, Body: key }));
    await fault(before);
    const request = () =>
      seen(place.client.send(new DeleteObjectCommand({ Bucket: place.bucket, Key: key, VersionId })));
    expect(await request()).toBe(UNAVAILABLE);
    await expectStruck(zones, ZONE, 1);
    await expectBody(key, key);
    expect(await request()).toBe("204");
    expect(await versionsOf(key)).toEqual([]);
  });
});

describe("D1 fails after it committed", () => {
  const after = { how: "fails after", in: "sequencer", times: 1 } as const;

  it.each([
    ["an inline PUT", {}],
    ["a large PUT", { Body: LARGE }],
    ["a conditional PUT", { IfNoneMatch: "*" }],
  ])("%s is looked for and answered 200 as the success that it was, once", async (_, options) => {
    const key = newKey();
    await fault(after);
    expect(await put(key, options)).toBe("200");
    await expectStruck(zones, ZONE, 1);
    expect(await versionsOf(key)).toHaveLength(1);
    await expectBody(key, (options as { Body?: string }).Body ?? key);
  });

  it("a DELETE is looked for and answered 204, with one delete marker", async () => {
    const key = newKey();
    await fault(after);
    expect(await seen(place.client.send(new DeleteObjectCommand({ Bucket: place.bucket, Key: key })))).toBe("204");
    await expectStruck(zones, ZONE, 1);
    expect(await versionsOf(key)).toEqual([expect.stringContaining("marker latest")]);
  });

  it("a DELETE by version id is answered 503 ServiceUnavailable, and 204 when it is repeated", async () => {
    const key = newKey();
    const { VersionId } = await place.client.send(new PutObjectCommand({ Bucket: place.bucket, Key: key, Body: key }));
    await fault(after);
    const request = () =>
      seen(place.client.send(new DeleteObjectCommand({ Bucket: place.bucket, Key: key, VersionId })));
    expect(await request()).toBe(UNAVAILABLE);
    await expectStruck(zones, ZONE, 1);
    expect(await versionsOf(key)).toEqual([]);
    expect(await request()).toBe("204");
  });

  it("and can't be asked either: a PUT is answered 503 ServiceUnavailable, and its version is whole", async () => {
    const key = newKey();
    const reading = { at: "INDEX.all", how: "fails before", in: "sequencer", times: 1 } as const;
    await arm(zones, ZONE, [{ at: "INDEX.batch", ...after }, reading]);
    expect(await put(key, { Body: LARGE })).toBe(UNAVAILABLE);
    await expectStruck(zones, ZONE, 1, 1);
    expect(await versionsOf(key)).toHaveLength(1);
    await expectBody(key, LARGE);
  });
});

describe.each(HOWS)("D1 %s it committed", (how) => {
  it("an UploadPart: the client sees 503 ServiceUnavailable, and its repeat is the part", async () => {
    const key = newKey();
    const common = { Bucket: place.bucket, Key: key };
    const { UploadId } = await place.client.send(new CreateMultipartUploadCommand(common));
    const upload = { ...common, UploadId };
    await fault({ how, in: "worker", naming: "INSERT INTO parts", times: 1 });
    const part = () => place.client.send(new UploadPartCommand({ ...upload, PartNumber: 1, Body: LARGE }));
    expect(await seen(part())).toBe(UNAVAILABLE);
    await expectStruck(zones, ZONE, 1);
    const { ETag } = await part();
    const { Parts } = await place.client.send(new ListPartsCommand(upload));
    expect(Parts).toEqual([expect.objectContaining({ PartNumber: 1, ETag })]);
    const MultipartUpload = { Parts: [{ PartNumber: 1, ETag }] };
    await place.client.send(new CompleteMultipartUploadCommand({ ...upload, MultipartUpload }));
    await expectBody(key, LARGE);
  });

  it(`a CompleteMultipartUpload: the client sees ${how === "fails before" ? UNAVAILABLE : "200"}, and the object is there once`, async () => {
    const key = newKey();
    const common = { Bucket: place.bucket, Key: key };
    const { UploadId } = await place.client.send(new CreateMultipartUploadCommand(common));
    const upload = { ...common, UploadId };
    const { ETag } = await place.client.send(new UploadPartCommand({ ...upload, PartNumber: 1, Body: LARGE }));
    await fault({ how, in: "sequencer", times: 1 });
    const MultipartUpload = { Parts: [{ PartNumber: 1, ETag }] };
    const complete = () => seen(place.client.send(new CompleteMultipartUploadCommand({ ...upload, MultipartUpload })));
    expect(await complete()).toBe(how === "fails before" ? UNAVAILABLE : "200");
    await expectStruck(zones, ZONE, 1);
    expect(await versionsOf(key)).toHaveLength(how === "fails before" ? 0 : 1);
    expect(await complete()).toBe("200");
    expect(await versionsOf(key)).toHaveLength(1);
    await expectBody(key, LARGE);
  });

  it("a PutBucketVersioning: the client sees 503 ServiceUnavailable, and its repeat sets it", async () => {
    const { client, bucket } = await versionedBucket(zones, ZONE);
    const VersioningConfiguration = { Status: "Suspended" } as const;
    const suspend = () =>
      seen(client.send(new PutBucketVersioningCommand({ Bucket: bucket, VersioningConfiguration })));
    await fault({ how, naming: "versioning =", times: 1 }, "INDEX.run");
    expect(await suspend()).toBe(UNAVAILABLE);
    await expectStruck(zones, ZONE, 1);
    expect(await suspend()).toBe("200");
    const { Status } = await client.send(new GetBucketVersioningCommand({ Bucket: bucket }));
    expect(Status).toBe("Suspended");
  });

  it("a PutBucketReplication: the client sees 503 ServiceUnavailable, and its repeat makes one link", async () => {
    const source = await versionedBucket(zones, ZONE);
    const destination = await versionedBucket(zones, "at-vie-1");
    const role = await makeRole(zones, seedPolicy(source.bucket, destination.bucket));
    const configure = () => putReplication(source, role, [ruleTo(destination.bucket)]);
    await fault({ how, naming: "INTO links", times: 1 });
    await expect(configure()).rejects.toMatchObject({ name: "ServiceUnavailable" });
    await expectStruck(zones, ZONE, 1);
    await configure();
    await source.client.send(new PutObjectCommand({ Bucket: source.bucket, Key: "k", Body: "x" }));
    await until(async () => (await statusOf(source, "k")) === "COMPLETED");
    const index = await zones.d1(ZONE);
    const links = await index.prepare("SELECT * FROM links WHERE rule_id = ?").bind(`to-${destination.bucket}`).all();
    expect(links.results).toHaveLength(1);
  });
});

it.each([
  ["GET", () => new GetObjectCommand({ Bucket: place.bucket, Key: "read" }), UNAVAILABLE],
  ["HEAD", () => new HeadObjectCommand({ Bucket: place.bucket, Key: "read" }), "503"],
  ["HEAD of the bucket", () => new HeadBucketCommand({ Bucket: place.bucket }), "503"],
  ["LIST", () => new ListObjectsV2Command({ Bucket: place.bucket }), UNAVAILABLE],
])(
  "D1 that can't be read: a %s is answered 503, never 404 or an empty page, and 200 once it can",
  async (_, command, answer) => {
    await put("read");
    await fault({ how: "fails before" }, "INDEX.*");
    const request = () => seen(place.client.send(command() as GetObjectCommand));
    expect(await request()).toBe(answer);
    await expectStruck(zones, ZONE);
    await heal(zones);
    expect(await request()).toBe("200");
  },
);

it("D1 failing at the source after the destination stored: the client sees PENDING, then COMPLETED, and nothing is there twice", async () => {
  const source = await versionedBucket(zones, ZONE);
  const destination = await versionedBucket(zones, "at-vie-1");
  await link(zones, source, destination);
  await fault({ how: "fails before", in: "worker", naming: "DELETE FROM outbox" });
  for (const [Key, Body] of [
    ["small", "x"],
    ["large", LARGE],
  ] as const) {
    await source.client.send(new PutObjectCommand({ Bucket: source.bucket, Key, Body }));
  }
  await until(async () => (await allVersions(destination)).length === 2);
  await until(async () => (await expectStruck(zones, ZONE)) === undefined);
  for (const key of ["small", "large"]) expect(await statusOf(source, key)).toBe("PENDING");
  await heal(zones);
  for (const key of ["small", "large"]) {
    await until(async () => (await statusOf(source, key)) === "COMPLETED", { deadline: 30_000 });
  }
  expect(await allVersions(destination)).toEqual(await allVersions(source));
  expect(await completions(zones, source, destination)).toBe(2);
  const replica = await destination.client.send(new GetObjectCommand({ Bucket: destination.bucket, Key: "large" }));
  const bytes = await replica.Body!.transformToByteArray();
  expect(replica.ETag).toBe(`"${createHash("md5").update(bytes).digest("hex")}"`);
}, 60_000);

it("D1 failing at the destination: the client sees PENDING, then COMPLETED, and nothing is there twice", async () => {
  const source = await versionedBucket(zones, ZONE);
  const destination = await versionedBucket(zones, "at-vie-1");
  await link(zones, source, destination);
  await arm(zones, "at-vie-1", [{ at: "INDEX.batch", in: "sequencer", how: "fails after" }]);
  await source.client.send(new PutObjectCommand({ Bucket: source.bucket, Key: "k", Body: "x" }));
  await until(async () => (await allVersions(destination)).length === 1);
  await expectStruck(zones, "at-vie-1");
  expect(await statusOf(source, "k")).toBe("PENDING");
  await heal(zones);
  await until(async () => (await statusOf(source, "k")) === "COMPLETED", { deadline: 30_000 });
  expect(await allVersions(destination)).toEqual(await allVersions(source));
  expect(await completions(zones, source, destination)).toBe(1);
}, 60_000);
