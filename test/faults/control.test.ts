import {
  CreateBucketCommand,
  DeleteBucketCommand,
  GetObjectCommand,
  HeadBucketCommand,
  ListBucketsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { startZones, until, type Zones } from "../harness.ts";
import { allVersions, link, makeRole, type Place, statusOf, versionedBucket } from "../links.ts";
import { arm, ENTRY, expectStruck, heal, report, seen } from "./arming.ts";

const ZONE = "ch-dk-2";
const SLOW_DOWN = "503 SlowDown";

let zones: Zones;
let known: Place;
/** of a link that went before */
let busy: Place;
let follower: Place;
/** of a link that nothing went by */
let idle: Place;
let other: Place;
/** of a key that no zone has seen yet */
let stranger: S3Client;

beforeAll(async () => {
  zones = await startZones({ entry: ENTRY });
  [known, busy, idle] = [
    await versionedBucket(zones, ZONE),
    await versionedBucket(zones, ZONE),
    await versionedBucket(zones, ZONE),
  ];
  follower = await versionedBucket(zones, "at-vie-1");
  other = await versionedBucket(zones, "at-vie-1");
  await link(zones, busy, follower);
  await link(zones, idle, other);
  stranger = await newKey();
  // Zones that were restarted know only what they are asked for now.
  await zones.restart();
  await idle.client.send(new HeadBucketCommand({ Bucket: idle.bucket }));
  await put(known, "k");
  await put(busy, "first");
  await until(async () => (await statusOf(busy, "first")) === "COMPLETED");
  await allVersions(follower);
});
afterAll(() => zones?.stop());
// Anew for each test, which is to see it struck in its own time.
beforeEach(async () => {
  for (const zone of [ZONE, "at-vie-1"]) await arm(zones, zone, [{ at: "CONTROL.*", how: "fails before" }]);
});

/** A client with a key made just now. */
async function newKey(): Promise<S3Client> {
  const role = await makeRole(zones, { "default-service-strategy": "allow", services: {} });
  const { body } = await zones.control<{ key: string; secret: string }>("POST", "/api-key", {
    name: `key-${role}`,
    "role-id": role,
  });
  return zones.s3(ZONE, "main", { credentials: { accessKeyId: body.key, secretAccessKey: body.secret } });
}

const put = ({ client, bucket }: Place, key: string) =>
  seen(client.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: key })));

it("the control database away: a known key goes on, and its client sees 200 for PUT, GET and LIST of a known bucket", async () => {
  const { client, bucket } = known;
  // The memory of a key is good for a second here: when it is asked for again, in vain, the memory goes on.
  const answers: string[] = [];
  await until(async () => {
    answers.push(await put(known, "k"));
    return (await report(zones, ZONE)).strokes[0]! > 0;
  });
  answers.push(await put(known, "k"));
  expect(new Set(answers)).toEqual(new Set(["200"]));
  expect(await seen(client.send(new GetObjectCommand({ Bucket: bucket, Key: "k" })))).toBe("200");
  expect(await seen(client.send(new ListObjectsV2Command({ Bucket: bucket })))).toBe("200");
});

it("the control database away: a key that the zone doesn't know sees 503 SlowDown, not 403", async () => {
  const read = new GetObjectCommand({ Bucket: known.bucket, Key: "k" });
  expect(await seen(stranger.send(read))).toBe(SLOW_DOWN);
  await expectStruck(zones, ZONE);
});

it("the control database away: a bucket that the zone doesn't know is answered 503 SlowDown, not 404", async () => {
  const { client } = known;
  expect(await seen(client.send(new ListObjectsV2Command({ Bucket: "never-heard-of" })))).toBe(SLOW_DOWN);
  expect(await seen(client.send(new HeadBucketCommand({ Bucket: "never-heard-of" })))).toBe("503");
  await expectStruck(zones, ZONE);
});

it("the control database away: CreateBucket, DeleteBucket and ListBuckets see 503, and change nothing", async () => {
  const { client, bucket } = idle;
  expect(await seen(client.send(new CreateBucketCommand({ Bucket: `new-${bucket}` })))).toMatch(/^503 /);
  expect(await seen(client.send(new DeleteBucketCommand({ Bucket: bucket })))).toMatch(/^503 /);
  expect(await seen(client.send(new ListBucketsCommand({})))).toMatch(/^503 /);
  expect(await seen(client.send(new HeadBucketCommand({ Bucket: bucket })))).toBe("200");
  await expectStruck(zones, ZONE);
});

it("the control database away: replication goes on by the roles that both zones know, and its client sees COMPLETED", async () => {
  expect(await put(busy, "second")).toBe("200");
  await until(async () => (await statusOf(busy, "second")) === "COMPLETED");
  await until(async () => {
    await put(busy, "third");
    for (const zone of [ZONE, "at-vie-1"]) await expectStruck(zones, zone);
    return true;
  });
  await until(async () => (await statusOf(busy, "third")) === "COMPLETED");
  expect(await allVersions(follower)).toEqual(await allVersions(busy));
});

it("the control database back: what waited for a role that no zone knew is COMPLETED, and new keys and buckets see 200", async () => {
  expect(await put(idle, "k")).toBe("200");
  const index = await zones.d1(ZONE);
  await until(async () => await index.prepare("SELECT 1 FROM links WHERE down_since IS NOT NULL").first());
  expect(await statusOf(idle, "k")).toBe("PENDING");
  await expectStruck(zones, ZONE);
  await heal(zones);
  await until(async () => (await statusOf(idle, "k")) === "COMPLETED", { deadline: 20_000 });
  expect(await allVersions(other)).toEqual(await allVersions(idle));
  expect(await seen(stranger.send(new GetObjectCommand({ Bucket: known.bucket, Key: "k" })))).toBe("200");
  expect(await seen(stranger.send(new CreateBucketCommand({ Bucket: `new-${idle.bucket}` })))).toBe("200");
});
