import { createHash } from "node:crypto";
import {
  DeleteObjectCommand,
  DeleteObjectTaggingCommand,
  GetObjectTaggingCommand,
  PutObjectCommand,
  PutObjectTaggingCommand,
} from "@aws-sdk/client-s3";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { arm, ENTRY, heal, report } from "../faults/arming.ts";
import { startZones, until, type Zones } from "../harness.ts";
import { allVersions, link, type Place, statusOf, versionedBucket } from "../links.ts";

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

const put = async (key: string, Body: string | Uint8Array = key, Tagging?: string) =>
  (await leader.client.send(new PutObjectCommand({ Bucket: leader.bucket, Key: key, Body, Tagging }))).VersionId!;
const putTags = async ({ client, bucket }: Place, key: string, value: string, VersionId?: string) => {
  const Tagging = { TagSet: [{ Key: "value", Value: value }] };
  await client.send(new PutObjectTaggingCommand({ Bucket: bucket, Key: key, VersionId, Tagging }));
};
const tagOf = async ({ client, bucket }: Place, key: string, VersionId?: string) => {
  const answer = await client.send(new GetObjectTaggingCommand({ Bucket: bucket, Key: key, VersionId }));
  return answer.TagSet!.find(({ Key }) => Key === "value")?.Value;
};
const arrived = async (key: string) => await until(async () => (await statusOf(leader, key)) === "COMPLETED");

it.each([
  ["an inline body", 10],
  ["a body of one segment", 100_000],
])(
  "an edit of the tags of %s makes the object PENDING again and follows it",
  async (_, size) => {
    await put("k", Buffer.alloc(size, "x"), "value=1");
    await arrived("k");
    await arm(zones, "at-vie-1", [{ at: "PEER.serve", how: "fails before" }]);
    await putTags(leader, "k", "2");
    expect(await statusOf(leader, "k")).toBe("PENDING");
    expect(await tagOf(follower, "k")).toBe("1");
    await heal(zones);
    await arrived("k");
    expect(await tagOf(follower, "k")).toBe("2");
    expect(await allVersions(follower)).toEqual(await allVersions(leader));
    await leader.client.send(new DeleteObjectTaggingCommand({ Bucket: leader.bucket, Key: "k" }));
    await arrived("k");
    expect(await tagOf(follower, "k")).toBeUndefined();
  },
  60_000,
);

it("edits made while the version is being sent are not lost under COMPLETED", async () => {
  for (let round = 0; round < 20; round++) {
    const versionId = await put(`k-${round}`);
    await Promise.all([1, 2, 3].map((n) => putTags(leader, `k-${round}`, `${n}`, versionId)));
  }
  for (let round = 0; round < 20; round++) {
    await arrived(`k-${round}`);
    expect(await tagOf(follower, `k-${round}`)).toBe(await tagOf(leader, `k-${round}`));
  }
}, 60_000);

it("a destination that knows nothing of changes of tags leaves the edit PENDING, and has it once it does", async () => {
  const versionId = await put("k");
  await arrived("k");
  const stored = { versionId, size: 1, etag: createHash("md5").update("k").digest("hex") };
  const answer = { bucket: { versioning: "Enabled", revision: 1 }, role: { revision: 1 }, receipts: [{ stored }] };
  const naming = `batch /${follower.bucket} `;
  const body = JSON.stringify(answer);
  await arm(zones, "at-vie-1", [{ at: "PEER.serve", how: "answers", status: 200, body, naming, times: 1 }]);
  await putTags(leader, "k", "new");
  await until(async () => (await report(zones, "at-vie-1")).strokes[0] === 1);
  expect(await statusOf(leader, "k")).toBe("PENDING");
  await arrived("k");
  expect(await tagOf(follower, "k")).toBe("new");
});

it("an edit of a replica stays where it is, and of two edits the later one stands", async () => {
  await put("k");
  await arrived("k");
  await putTags(follower, "k", "at the replica");
  expect(await statusOf(follower, "k")).toBe("REPLICA");
  expect(await tagOf(leader, "k")).toBeUndefined();
  await putTags(leader, "k", "at the source");
  await arrived("k");
  expect(await tagOf(follower, "k")).toBe("at the source");
});

it("an edit of a version that was removed at the destination doesn't bring it back", async () => {
  const versionId = await put("k");
  await arrived("k");
  await follower.client.send(new DeleteObjectCommand({ Bucket: follower.bucket, Key: "k", VersionId: versionId }));
  await putTags(leader, "k", "late");
  await until(async () => (await statusOf(leader, "k")) === "FAILED");
  expect(await allVersions(follower)).toEqual([]);
});

it("an edit of a version that is gone at the source is NoSuchVersion, and nothing is left to travel", async () => {
  const versionId = await put("k");
  await arrived("k");
  await leader.client.send(new DeleteObjectCommand({ Bucket: leader.bucket, Key: "k", VersionId: versionId }));
  await expect(putTags(leader, "k", "late", versionId)).rejects.toMatchObject({ name: "NoSuchVersion" });
  expect(await tagOf(follower, "k", versionId)).toBeUndefined();
  const index = await zones.d1("ch-dk-2");
  expect(await index.prepare("SELECT count(*) AS n FROM outbox WHERE key = 'k'").first()).toEqual({ n: 0 });
});
