import {
  CopyObjectCommand,
  type CopyObjectCommandInput,
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  GetObjectTaggingCommand,
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
  zones = await startZones({ zones: ["ch-dk-2", "at-vie-1"] });
  s3 = zones.s3("ch-dk-2");
  for (const Bucket of ["near", "versioned"]) await s3.send(new CreateBucketCommand({ Bucket }));
  await zones.s3("at-vie-1").send(new CreateBucketCommand({ Bucket: "far" }));
  await zones.s3("at-vie-1", "alt").send(new CreateBucketCommand({ Bucket: "foreign" }));
  await s3.send(
    new PutBucketVersioningCommand({ Bucket: "versioned", VersioningConfiguration: { Status: "Enabled" } }),
  );
  for (const Bucket of ["near", "far"]) {
    for (const [Key, size] of [
      ["small", 10],
      ["large", 100_000],
      ["empty", 0],
    ] as const) {
      await s3.send(
        new PutObjectCommand({
          Bucket,
          Key,
          Body: Buffer.alloc(size, "0123456789"),
          ContentType: "text/x",
          CacheControl: "no-cache",
          StorageClass: "STANDARD_IA",
          WebsiteRedirectLocation: "/x",
          Metadata: { colour: "=?UTF-8?Q?gr=C3=BCn?=", size: String(size) },
          Tagging: "a=1&b=2",
        }),
      );
    }
  }
});
afterAll(async () => await zones?.stop());

const refused = (code: string, status: number) => ({
  name: code,
  $metadata: expect.objectContaining({ httpStatusCode: status }),
});
const copy = (CopySource: string, Key: string, more: Partial<CopyObjectCommandInput> = {}) => {
  return s3.send(new CopyObjectCommand({ Bucket: "near", Key, CopySource, ...more }));
};
const get = async (Key: string, Bucket = "near") => {
  const answer = await s3.send(new GetObjectCommand({ Bucket, Key }));
  return { ...answer, text: await answer.Body!.transformToString() };
};
const tagsOf = async (Key: string) => {
  const { TagSet } = await s3.send(new GetObjectTaggingCommand({ Bucket: "near", Key }));
  return TagSet!.map((tag) => `${tag.Key}=${tag.Value}`).join("&");
};

describe.each(["near", "far"])("CopyObject from a bucket in the zone %s", (bucket) => {
  test.each([
    ["small", 10],
    ["large", 100_000],
    ["empty", 0],
  ] as const)("copies the %s body, headers, metadata and tags", async (key, size) => {
    const { CopyObjectResult } = await copy(`${bucket}/${key}`, "copied");
    const copied = await get("copied");
    expect(copied.text).toBe("0123456789".repeat(size / 10));
    expect(copied).toMatchObject({
      ETag: CopyObjectResult!.ETag,
      ContentType: "text/x",
      CacheControl: "no-cache",
      TagCount: 2,
    });
    expect(copied.ETag).toBe((await get(key, bucket)).ETag);
    expect(copied.Metadata).toMatchObject({ size: String(size), colour: "=?UTF-8?B?Z3LDvG4=?=" });
    expect(await tagsOf("copied")).toBe("a=1&b=2");
  });

  test("leaves storage class and redirect to the request", async () => {
    await copy(`${bucket}/small`, "plain");
    const plain = await get("plain");
    expect([plain.StorageClass, plain.WebsiteRedirectLocation]).toEqual([undefined, undefined]);
    await copy(`${bucket}/small`, "own", { StorageClass: "GLACIER_IR", WebsiteRedirectLocation: "/y" });
    expect(await get("own")).toMatchObject({
      StorageClass: "GLACIER_IR",
      WebsiteRedirectLocation: "/y",
      ContentType: "text/x",
    });
  });

  test("takes metadata and tags of the request by the REPLACE directives", async () => {
    await copy(`${bucket}/small`, "replaced", {
      MetadataDirective: "REPLACE",
      TaggingDirective: "REPLACE",
      Tagging: "c=3",
      Metadata: { new: "1" },
    });
    expect(await get("replaced")).toMatchObject({
      ContentType: "binary/octet-stream",
      Metadata: { new: "1" },
      TagCount: 1,
    });
    await copy(`${bucket}/small`, "headers-only", { MetadataDirective: "REPLACE", ContentType: "text/y" });
    expect(await tagsOf("headers-only")).toBe("a=1&b=2");
  });

  test("copies from a key with dots, slashes and signs", async () => {
    for (const key of ["a/../b", "//x", "sp ace+%41", "ü/中"]) {
      await s3.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: key }));
      await copy(`${bucket}/${encodeURIComponent(key)}`, "dotted");
      expect((await get("dotted")).text).toBe(key);
    }
  });

  test("is decided by the conditions on its source", async () => {
    const ETag = (await get("small", bucket)).ETag!;
    const source = `${bucket}/small`;
    const failed = refused("PreconditionFailed", 412);
    await copy(source, "conditional", { CopySourceIfMatch: ETag, CopySourceIfNoneMatch: '"other"' });
    await expect(copy(source, "conditional", { CopySourceIfMatch: '"other"' })).rejects.toMatchObject(failed);
    await expect(copy(source, "conditional", { CopySourceIfNoneMatch: ETag })).rejects.toMatchObject(failed);
    await expect(copy(source, "conditional", { CopySourceIfUnmodifiedSince: new Date(0) })).rejects.toMatchObject(
      failed,
    );
    await expect(copy(source, "conditional", { CopySourceIfModifiedSince: new Date() })).rejects.toMatchObject(failed);
  });

  test("is NoSuchKey without a source", async () => {
    await expect(copy(`${bucket}/missing`, "k")).rejects.toMatchObject(refused("NoSuchKey", 404));
  });

  test("keeps a checksum of the whole, and calculates the one that is asked for", async () => {
    const { CopyObjectResult: kept } = await copy(`${bucket}/large`, "summed");
    expect(kept).toMatchObject({ ChecksumCRC32: expect.any(String), ChecksumType: "FULL_OBJECT" });
    const { CopyObjectResult } = await copy(`${bucket}/large`, "summed", { ChecksumAlgorithm: "SHA256" });
    const checked = await s3.send(new GetObjectCommand({ Bucket: "near", Key: "summed", ChecksumMode: "ENABLED" }));
    expect(checked.ChecksumSHA256).toBe(CopyObjectResult!.ChecksumSHA256);
    await checked.Body!.transformToString();
  });
});

describe("CopyObject", () => {
  test("copies a version by its id, and tells which one", async () => {
    const put = (Body: string) => s3.send(new PutObjectCommand({ Bucket: "versioned", Key: "k", Body }));
    const [first, second] = [await put("1"), await put("2")];
    const answer = await copy(`versioned/k?versionId=${first.VersionId}`, "k", { Bucket: "versioned" });
    expect(answer).toMatchObject({ CopySourceVersionId: first.VersionId, VersionId: expect.any(String) });
    expect((await get("k", "versioned")).text).toBe("1");
    expect((await copy("versioned/k", "from-current")).CopySourceVersionId).toBe(answer.VersionId);
    expect(second.VersionId).not.toBe(answer.VersionId);
  });

  test("of a delete marker is NoSuchKey, by its id InvalidRequest", async () => {
    await s3.send(new PutObjectCommand({ Bucket: "versioned", Key: "gone", Body: "b" }));
    const { VersionId } = await s3.send(new DeleteObjectCommand({ Bucket: "versioned", Key: "gone" }));
    await expect(copy("versioned/gone", "k")).rejects.toMatchObject(refused("NoSuchKey", 404));
    await expect(copy(`versioned/gone?versionId=${VersionId}`, "k")).rejects.toMatchObject(
      refused("InvalidRequest", 400),
    );
    await expect(copy("versioned/gone?versionId=1000000000000000000", "k")).rejects.toMatchObject(
      refused("NoSuchVersion", 404),
    );
  });

  test("onto itself is InvalidRequest, unless something changes", async () => {
    await s3.send(new PutObjectCommand({ Bucket: "near", Key: "self", Body: "b", Metadata: { a: "1" } }));
    await expect(copy("near/self", "self")).rejects.toMatchObject(refused("InvalidRequest", 400));
    await copy("near/self", "self", { MetadataDirective: "REPLACE", Metadata: { b: "2" } });
    expect(await get("self")).toMatchObject({ text: "b", Metadata: { b: "2" } });
    await copy("near/self", "self", { StorageClass: "STANDARD_IA" });
    expect(await get("self")).toMatchObject({ text: "b", StorageClass: "STANDARD_IA", Metadata: { b: "2" } });
  });

  test("takes a source as exo writes it: raw UTF-8 and spaces, or with encoded slashes, or a literal escape", async () => {
    const key = "deep/sp ace ü+%.txt";
    await s3.send(new PutObjectCommand({ Bucket: "near", Key: key, Body: "exo" }));
    await s3.send(new PutObjectCommand({ Bucket: "near", Key: "100%25", Body: "literal" }));
    for (const [source, text] of [
      [`near/${key}`, "exo"],
      ["near/deep%2Fsp%20ace%20%C3%BC+%25.txt", "exo"],
      ["near/100%25", "literal"],
    ]) {
      const headers = { "x-amz-copy-source": source!, "x-amz-grant-full-control": `id=${zones.organizations.main.id}` };
      expect(await send(zones, "PUT", "/near/by-exo?x-id=CopyObject", { headers })).toMatchObject({ status: 200 });
      expect((await get("by-exo")).text).toBe(text);
    }
  });

  test("is held to its own conditions too", async () => {
    await copy("near/small", "target");
    await expect(copy("near/small", "target", { IfNoneMatch: "*" })).rejects.toMatchObject(
      refused("PreconditionFailed", 412),
    );
  });

  test("is AccessDenied from a bucket of another organization, NoSuchBucket from none", async () => {
    await expect(copy("foreign/k", "k")).rejects.toMatchObject(refused("AccessDenied", 403));
    await expect(copy("missing-bucket/k", "k")).rejects.toMatchObject(refused("NoSuchBucket", 404));
    const ExpectedSourceBucketOwner = zones.organizations.alt.id;
    await expect(copy("near/small", "k", { ExpectedSourceBucketOwner })).rejects.toMatchObject(
      refused("AccessDenied", 403),
    );
  });

  test("is InvalidArgument with a directive or a source that is none", async () => {
    await expect(copy("near/small", "k", { MetadataDirective: "MERGE" as never })).rejects.toMatchObject(
      refused("InvalidArgument", 400),
    );
    await expect(copy("near", "k")).rejects.toMatchObject(refused("InvalidArgument", 400));
    await expect(copy("near/small?versionId=x", "k")).rejects.toMatchObject(refused("InvalidArgument", 400));
  });

  test("needs get-object on its source as well as put-object, in whichever zone", async () => {
    const policy = {
      "default-service-strategy": "deny",
      services: {
        sos: {
          type: "rules",
          rules: [
            { action: "allow", expression: "operation.startsWith('put-object') && parameters.source_key == 'small'" },
            {
              action: "allow",
              expression: "operation in ['get-object', 'get-object-tagging'] && parameters.key == 'small'",
            },
          ],
        },
      },
    };
    const role = await zones.control<{ reference: { id: string } }>("POST", "/iam-role", { name: "copier", policy });
    const { body: key } = await zones.control<{ key: string; secret: string }>("POST", "/api-key", {
      name: "copier",
      "role-id": role.body.reference.id,
    });
    for (const bucket of ["near", "far"]) {
      const from = (source: string) =>
        send(zones, "PUT", "/near/by-role", { key, headers: { "x-amz-copy-source": `${bucket}/${source}` } });
      expect(await from("small")).toMatchObject({ status: 200 });
      expect(await from("large")).toMatchObject({ status: 403, code: "AccessDenied" });
      expect(await from("missing")).toMatchObject({ status: 403, code: "AccessDenied" });
    }
  });
});
