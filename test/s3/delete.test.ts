import {
  CreateBucketCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  HeadObjectCommand,
  ListObjectVersionsCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startZones, type Zones } from "../harness.ts";
import { send } from "./raw.ts";

let zones: Zones;
let s3: S3Client;

beforeAll(async () => {
  zones = await startZones({ zones: ["ch-dk-2"] });
  s3 = zones.s3("ch-dk-2");
  for (const Bucket of ["plain", "versioned"]) await s3.send(new CreateBucketCommand({ Bucket }));
  await s3.send(
    new PutBucketVersioningCommand({ Bucket: "versioned", VersioningConfiguration: { Status: "Enabled" } }),
  );
});
afterAll(async () => await zones?.stop());

const put = (Bucket: string, Key: string) => s3.send(new PutObjectCommand({ Bucket, Key, Body: "b" }));
const remove = (Bucket: string, Key: string, VersionId?: string) =>
  s3.send(new DeleteObjectCommand({ Bucket, Key, VersionId }));
const removeAll = (Bucket: string, Objects: { Key: string; VersionId?: string; ETag?: string }[], Quiet?: boolean) => {
  return s3.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects, Quiet } }));
};

describe("DeleteObject", () => {
  test("removes the object of a bucket without versioning, and says 204 for an absent one too", async () => {
    await put("plain", "k");
    for (let i = 0; i < 2; i++) {
      const answer = await remove("plain", "k");
      expect(answer.$metadata.httpStatusCode).toBe(204);
      expect(answer.DeleteMarker).toBeUndefined();
      expect(answer.VersionId).toBeUndefined();
    }
  });

  test("adds a delete marker each time, on an absent key too", async () => {
    const markers = [await remove("versioned", "absent"), await remove("versioned", "absent")];
    for (const marker of markers) expect(marker).toMatchObject({ DeleteMarker: true, VersionId: expect.any(String) });
    expect(markers[0]!.VersionId).not.toBe(markers[1]!.VersionId);
  });

  test("by id removes just that version, be it a delete marker", async () => {
    const { VersionId } = await put("versioned", "by-id");
    const marker = await remove("versioned", "by-id");
    expect(await remove("versioned", "by-id", marker.VersionId)).toMatchObject({
      DeleteMarker: true,
      VersionId: marker.VersionId,
    });
    expect(await s3.send(new HeadObjectCommand({ Bucket: "versioned", Key: "by-id" }))).toMatchObject({ VersionId });
    const removed = await remove("versioned", "by-id", VersionId);
    expect(removed.VersionId).toBe(VersionId);
    expect(removed.DeleteMarker).toBeUndefined();
    expect(await remove("versioned", "by-id", VersionId)).toMatchObject({ VersionId });
  });

  test("is InvalidArgument for an id that is none", async () => {
    expect(await send(zones, "DELETE", "/versioned/k?versionId=x")).toMatchObject({
      status: 400,
      code: "InvalidArgument",
    });
  });

  test("with If-Match removes only what is meant", async () => {
    const { ETag } = await put("plain", "guarded");
    const guarded = { Bucket: "plain", Key: "guarded" };
    await expect(s3.send(new DeleteObjectCommand({ ...guarded, IfMatch: '"other"' }))).rejects.toMatchObject({
      name: "PreconditionFailed",
    });
    await s3.send(new DeleteObjectCommand({ ...guarded, IfMatch: ETag }));
    await expect(s3.send(new HeadObjectCommand(guarded))).rejects.toMatchObject({ name: "NotFound" });
  });
});

describe("DeleteObjects", () => {
  test("gives one result for each entry, in order", async () => {
    await put("plain", " a ");
    const { Deleted, Errors } = await removeAll("plain", [{ Key: " a " }, { Key: "absent" }, { Key: "b&<>" }]);
    expect(Deleted).toEqual([{ Key: " a " }, { Key: "absent" }, { Key: "b&<>" }]);
    expect(Errors).toBeUndefined();
  });

  test("tells markers that it made, and versions and markers that it removed", async () => {
    const { VersionId } = await put("versioned", "many");
    const { Deleted: made } = await removeAll("versioned", [{ Key: "many" }]);
    const marker = made![0]!.DeleteMarkerVersionId!;
    expect(made).toEqual([{ Key: "many", DeleteMarker: true, DeleteMarkerVersionId: marker }]);
    const { Deleted } = await removeAll("versioned", [
      { Key: "many", VersionId: marker },
      { Key: "many", VersionId },
    ]);
    expect(Deleted).toEqual([
      { Key: "many", VersionId: marker, DeleteMarker: true, DeleteMarkerVersionId: marker },
      { Key: "many", VersionId },
    ]);
    const { Versions, DeleteMarkers } = await s3.send(
      new ListObjectVersionsCommand({ Bucket: "versioned", Prefix: "many" }),
    );
    expect([Versions, DeleteMarkers]).toEqual([undefined, undefined]);
  });

  test("says nothing of what went well if it is quiet", async () => {
    await put("plain", "quiet");
    const answer = await removeAll("plain", [{ Key: "quiet" }, { Key: "quiet", VersionId: "no-id" }], true);
    expect(answer.Deleted).toBeUndefined();
    expect(answer.Errors).toEqual([
      expect.objectContaining({ Key: "quiet", VersionId: "no-id", Code: "InvalidArgument" }),
    ]);
    await expect(s3.send(new HeadObjectCommand({ Bucket: "plain", Key: "quiet" }))).rejects.toMatchObject({
      name: "NotFound",
    });
  });

  test("holds each entry against its ETag", async () => {
    const { ETag } = await put("plain", "etag");
    const refused = await removeAll("plain", [{ Key: "etag", ETag: '"other"' }]);
    expect(refused.Errors).toMatchObject([{ Key: "etag", Code: "PreconditionFailed" }]);
    const { Deleted } = await removeAll("plain", [{ Key: "etag", ETag }]);
    expect(Deleted).toEqual([{ Key: "etag" }]);
  });

  test("takes a thousand entries, not one more", async () => {
    const keys = (length: number) => Array.from({ length }, (_, i) => ({ Key: `absent/${i}` }));
    expect((await removeAll("plain", keys(1000))).Deleted).toHaveLength(1000);
    await expect(removeAll("plain", keys(1001))).rejects.toMatchObject({ name: "MalformedXML" });
  });

  test("refuses a key that is too long, and that one only", async () => {
    const answer = await removeAll("plain", [{ Key: "x".repeat(1025) }, { Key: "fine" }]);
    expect(answer.Deleted).toEqual([{ Key: "fine" }]);
    expect(answer.Errors).toMatchObject([{ Code: "KeyTooLongError" }]);
  });

  test.each([
    ["", "MissingRequestBodyError"],
    ["<Delete/>", "MalformedXML"],
    ["<Delete><Object/></Delete>", "MalformedXML"],
    ["<Delete><Object><Key>a</Key><Key>b</Key></Object></Delete>", "MalformedXML"],
    ["<Delete><Object><Key>a</Key><Size>1</Size></Object></Delete>", "NotImplemented"],
    ["<Delete><Object><Key>a</Key></Object></Delete><Delete/>", "MalformedXML"],
    ['<!DOCTYPE Delete [<!ENTITY k "a">]><Delete><Object><Key>&k;</Key></Object></Delete>', "MalformedXML"],
  ])("with the document %j is %s", async (body, code) => {
    expect(await send(zones, "POST", "/plain?delete", { body })).toMatchObject({ code });
  });

  test("authorises key by key", async () => {
    const expression =
      "parameters.bucket == 'plain' && operation == 'delete-object' && parameters.key.startsWith('mine/')";
    const policy = {
      "default-service-strategy": "deny",
      services: { sos: { type: "rules", rules: [{ action: "allow", expression }] } },
    };
    const role = await zones.control<{ reference: { id: string } }>("POST", "/iam-role", { name: "deleter", policy });
    const { body: key } = await zones.control<{ key: string; secret: string }>("POST", "/api-key", {
      name: "deleter",
      "role-id": role.body.reference.id,
    });
    for (const name of ["mine/a", "yours/a"]) await put("plain", name);
    const body = "<Delete><Object><Key>yours/a</Key></Object><Object><Key>mine/a</Key></Object></Delete>";
    const answer = await send(zones, "POST", "/plain?delete", { key, body });
    expect(answer.status).toBe(200);
    const results = answer
      .xml("DeleteResult")
      .children.map((child) => [child.name, child.textOf("Key"), child.textOf("Code")]);
    expect(results).toEqual([
      ["Error", "yours/a", "AccessDenied"],
      ["Deleted", "mine/a", undefined],
    ]);
    expect(await send(zones, "HEAD", "/plain/yours/a")).toMatchObject({ status: 200 });
    expect(await send(zones, "DELETE", "/plain/yours/a", { key })).toMatchObject({ status: 403 });
  });
});
