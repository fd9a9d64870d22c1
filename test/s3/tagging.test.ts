import {
  CreateBucketCommand,
  DeleteObjectCommand,
  DeleteObjectTaggingCommand,
  GetObjectTaggingCommand,
  HeadObjectCommand,
  PutObjectCommand,
  PutObjectTaggingCommand,
} from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startZones, type Zones } from "../harness.ts";
import { type Place, versionedBucket } from "../links.ts";

let zones: Zones;
let place: Place;
beforeAll(async () => {
  zones = await startZones({ zones: ["ch-dk-2"] });
  place = await versionedBucket(zones, "ch-dk-2");
});
afterAll(() => zones?.stop());

const put = async (key: string, body = key, Tagging?: string) =>
  (await place.client.send(new PutObjectCommand({ Bucket: place.bucket, Key: key, Body: body, Tagging }))).VersionId!;
const putTags = async (key: string, tags: Record<string, string>, VersionId?: string) => {
  const TagSet = Object.entries(tags).map(([Key, Value]) => ({ Key, Value }));
  const request = { Bucket: place.bucket, Key: key, VersionId, Tagging: { TagSet } };
  return await place.client.send(new PutObjectTaggingCommand(request));
};
const getTags = async (key: string, VersionId?: string) => {
  const answer = await place.client.send(new GetObjectTaggingCommand({ Bucket: place.bucket, Key: key, VersionId }));
  return Object.fromEntries(answer.TagSet!.map(({ Key, Value }) => [Key, Value]));
};

describe("PutObjectTagging", () => {
  it("replaces all tags of the current version and makes no other version", async () => {
    const older = await put("k", "1", "a=1");
    const versionId = await put("k", "2", "a=1&b=2");
    const before = await place.client.send(new HeadObjectCommand({ Bucket: place.bucket, Key: "k" }));
    expect((await putTags("k", { c: "3", "ü =": "" })).VersionId).toBe(versionId);
    expect(await getTags("k")).toEqual({ c: "3", "ü =": "" });
    expect(await getTags("k", older)).toEqual({ a: "1" });
    const after = await place.client.send(new HeadObjectCommand({ Bucket: place.bucket, Key: "k" }));
    expect(after).toMatchObject({
      VersionId: versionId,
      ETag: before.ETag,
      LastModified: before.LastModified,
      TagCount: 2,
    });
  });

  it("of a version id changes just that version", async () => {
    const older = await put("by-id", "1");
    await put("by-id", "2");
    expect((await putTags("by-id", { a: "1" }, older)).VersionId).toBe(older);
    expect(await getTags("by-id", older)).toEqual({ a: "1" });
    expect(await getTags("by-id")).toEqual({});
  });

  it("in a bucket without versioning tells no version id", async () => {
    await place.client.send(new CreateBucketCommand({ Bucket: "unversioned-tags" }));
    const object = { Bucket: "unversioned-tags", Key: "k" };
    await place.client.send(new PutObjectCommand({ ...object, Body: "x" }));
    const Tagging = { TagSet: [{ Key: "a", Value: "1" }] };
    const answer = await place.client.send(new PutObjectTaggingCommand({ ...object, Tagging }));
    expect(answer.VersionId).toBeUndefined();
    expect((await place.client.send(new GetObjectTaggingCommand(object))).TagSet).toEqual(Tagging.TagSet);
  });

  it("64 at once leave the tags of one of them, whole", async () => {
    await put("race");
    await Promise.all(Array.from({ length: 64 }, (_, i) => putTags("race", { a: `${i}`, b: `${i}` })));
    const { a, b } = await getTags("race");
    expect(a).toBeDefined();
    expect(a).toBe(b);
  });

  it("is NoSuchKey without an object, NoSuchVersion without the version, MethodNotAllowed for a delete marker", async () => {
    await expect(putTags("absent", {})).rejects.toMatchObject({ name: "NoSuchKey" });
    await put("deleted");
    const marker = await place.client.send(new DeleteObjectCommand({ Bucket: place.bucket, Key: "deleted" }));
    await expect(putTags("deleted", {})).rejects.toMatchObject({ name: "NoSuchKey" });
    await expect(putTags("deleted", {}, marker.VersionId)).rejects.toMatchObject({ name: "MethodNotAllowed" });
    await expect(putTags("deleted", {}, "0000000000000000001")).rejects.toMatchObject({ name: "NoSuchVersion" });
  });

  it("is InvalidTag with more than 10 tags, or one twice, and changes nothing then", async () => {
    await put("refused", "x", "a=1");
    const many = Object.fromEntries(Array.from({ length: 11 }, (_, i) => [`k${i}`, "v"]));
    await expect(putTags("refused", many)).rejects.toMatchObject({ name: "InvalidTag" });
    const twice = {
      TagSet: [
        { Key: "a", Value: "1" },
        { Key: "a", Value: "2" },
      ],
    };
    const request = { Bucket: place.bucket, Key: "refused", Tagging: twice };
    await expect(place.client.send(new PutObjectTaggingCommand(request))).rejects.toMatchObject({ name: "InvalidTag" });
    expect(await getTags("refused")).toEqual({ a: "1" });
  });
});

describe("DeleteObjectTagging", () => {
  it("removes all tags, and succeeds where there are none", async () => {
    const versionId = await put("k3", "x", "a=1");
    for (let i = 0; i < 2; i++) {
      const answer = await place.client.send(new DeleteObjectTaggingCommand({ Bucket: place.bucket, Key: "k3" }));
      expect(answer).toMatchObject({ $metadata: { httpStatusCode: 204 }, VersionId: versionId });
      expect(await getTags("k3")).toEqual({});
    }
  });
});
