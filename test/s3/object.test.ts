import {
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  GetObjectTaggingCommand,
  HeadObjectCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  type PutObjectCommandInput,
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

const refused = (code: string, status: number) => ({
  name: code,
  $metadata: expect.objectContaining({ httpStatusCode: status }),
});
const put = (Key: string, Body: PutObjectCommandInput["Body"], more: Partial<PutObjectCommandInput> = {}) => {
  return s3.send(new PutObjectCommand({ Bucket: "plain", Key, Body, ...more }));
};
const get = async (Key: string, more = {}) => {
  const answer = await s3.send(new GetObjectCommand({ Bucket: "plain", Key, ...more }));
  return { ...answer, text: await answer.Body!.transformToString() };
};
const head = (Key: string, more = {}) => s3.send(new HeadObjectCommand({ Bucket: "plain", Key, ...more }));

describe("PutObject and GetObject", () => {
  test.each([0, 1, 8192, 8193, 300_000])("give back %d bytes, with their length and times", async (size) => {
    const body = Buffer.alloc(size, "0123456789");
    const { ETag } = await put("sized", body);
    const answer = await send(zones, "GET", "/plain/sized");
    expect(answer.body.equals(body)).toBe(true);
    expect(answer.headers).toMatchObject({ etag: ETag, "content-length": String(size), "accept-ranges": "bytes" });
    expect(Date.parse(answer.headers["last-modified"]!)).toBeGreaterThan(Date.now() - 60_000);
    const { headers, body: none } = await send(zones, "HEAD", "/plain/sized");
    expect(headers).toMatchObject({ etag: ETag, "content-length": String(size) });
    expect(none).toHaveLength(0);
  });

  test.each([
    "a/../b",
    "../..",
    "./x",
    "a//b",
    "/a",
    "a/",
    " a b ",
    "a+b",
    "a%2Fb",
    "ü中😀",
    "~!*'()",
    "x".repeat(1024),
  ])("keep the key %s as it is", async (key) => {
    await put(key, key);
    expect((await get(key)).text).toBe(key);
  });

  test("don't mistake keys that differ in dots and slashes", async () => {
    await put("d/a", "1");
    await send(zones, "PUT", "/plain/d/b/../a", { body: "2" });
    await send(zones, "PUT", "/plain/d//a", { body: "3" });
    await send(zones, "PUT", "/plain/d/%2E/a", { body: "4" });
    expect((await get("d/a")).text).toBe("1");
    expect((await get("d/b/../a")).text).toBe("2");
    expect((await get("d//a")).text).toBe("3");
    expect((await get("d/./a")).text).toBe("4");
  });

  test("keep content headers and metadata", async () => {
    const Expires = new Date("2030-01-01T00:00:00Z");
    const headers = {
      ContentType: "text/x",
      CacheControl: "no-cache",
      ContentDisposition: 'attachment; filename="a"',
      ContentLanguage: "de",
      WebsiteRedirectLocation: "/other",
      StorageClass: "STANDARD_IA" as const,
      Metadata: { colour: "red", "mixed-case": "Yes" },
    };
    await put("described", "b", { ...headers, Expires });
    for (const answer of [await head("described"), await get("described")]) {
      expect(answer).toMatchObject({ ...headers, ServerSideEncryption: "AES256" });
      expect(answer.ExpiresString).toBe(Expires.toUTCString());
    }
  });

  test("hand on an encoded body as it is, and drop aws-chunked from Content-Encoding", async () => {
    await send(zones, "PUT", "/plain/encoded", {
      headers: { "content-encoding": "aws-chunked,gzip" },
      body: "no gzip at all",
    });
    const answer = await send(zones, "GET", "/plain/encoded");
    expect(answer).toMatchObject({ text: "no gzip at all", headers: { "content-encoding": "gzip" } });
  });

  test("read an empty or absent Content-Type as binary/octet-stream", async () => {
    for (const headers of [{ "content-type": "" }, {}] as Record<string, string>[]) {
      await send(zones, "PUT", "/plain/untyped", { headers, body: "b" });
      expect((await head("untyped")).ContentType).toBe("binary/octet-stream");
    }
  });

  test("carry metadata outside ASCII: raw UTF-8 in, encoded words out", async () => {
    for (const value of ["grün 中", "=?UTF-8?Q?gr=C3=BCn_=E4=B8=AD?="]) {
      expect(await send(zones, "PUT", "/plain/unicode", { headers: { "x-amz-meta-raw": value } })).toMatchObject({
        status: 200,
      });
      const { headers } = await send(zones, "HEAD", "/plain/unicode");
      expect(headers["x-amz-meta-raw"]).toBe("=?UTF-8?B?Z3LDvG4g5Lit?=");
    }
  });

  test("are MetadataTooLarge, KeyTooLongError, InvalidStorageClass and so on where a limit is passed", async () => {
    const key = "x".repeat(1025);
    await expect(put("k", "b", { Metadata: { a: "x".repeat(2048) } })).rejects.toMatchObject(
      refused("MetadataTooLarge", 400),
    );
    await expect(put(key, "b")).rejects.toMatchObject(refused("KeyTooLongError", 400));
    await expect(put("k", "b", { StorageClass: "COLD" as never })).rejects.toMatchObject(
      refused("InvalidStorageClass", 400),
    );
    await expect(put("k", "b", { WebsiteRedirectLocation: "x" })).rejects.toMatchObject(
      refused("InvalidRedirectLocation", 400),
    );
  });

  test("are NoSuchBucket and NoSuchKey where there is none, and InvalidURI for what is no key", async () => {
    await expect(s3.send(new PutObjectCommand({ Bucket: "missing", Key: "k", Body: "b" }))).rejects.toMatchObject(
      refused("NoSuchBucket", 404),
    );
    await expect(get("missing")).rejects.toMatchObject(refused("NoSuchKey", 404));
    expect(await send(zones, "GET", "/plain/%ff")).toMatchObject({ status: 400, code: "InvalidURI" });
  });

  test("keep tags, and tell their number", async () => {
    await put("tagged", "b", { Tagging: "a=1&b=two%20words" });
    expect(await get("tagged")).toMatchObject({ TagCount: 2 });
    const { TagSet } = await s3.send(new GetObjectTaggingCommand({ Bucket: "plain", Key: "tagged" }));
    expect(TagSet).toEqual([
      { Key: "a", Value: "1" },
      { Key: "b", Value: "two words" },
    ]);
    await expect(put("tagged", "b", { Tagging: "a=1&a=2" })).rejects.toMatchObject(refused("InvalidTag", 400));
  });

  test("give the checksum back where it is asked for, and only of the whole", async () => {
    await put("summed", "hello", { ChecksumAlgorithm: "SHA256" });
    const asked = { ChecksumMode: "ENABLED" } as const;
    expect(await head("summed", asked)).toMatchObject({
      ChecksumSHA256: expect.any(String),
      ChecksumType: "FULL_OBJECT",
    });
    expect((await get("summed", asked)).text).toBe("hello");
    expect((await send(zones, "HEAD", "/plain/summed")).headers["x-amz-checksum-sha256"]).toBeUndefined();
    const part = await get("summed", { ...asked, Range: "bytes=0-1" });
    expect(part.ChecksumSHA256).toBeUndefined();
  });
});

describe("An empty body with Expect: 100-continue", () => {
  test("is answered when the client has given up waiting, which botocore needs", async () => {
    const put = async (agent: string) => {
      const started = Date.now();
      const headers = { expect: "100-continue", "user-agent": agent };
      expect(await send(zones, "PUT", "/plain/expected", { headers, body: "" })).toMatchObject({ status: 200 });
      return Date.now() - started;
    };
    expect(await put("Boto3/1.40 Botocore/1.40")).toBeGreaterThan(1000);
    expect(await put("curl/8")).toBeLessThan(1000);
  });
});

describe("Headers that aren't built", () => {
  test.each([
    ["x-amz-server-side-encryption-customer-algorithm", "AES256"],
    ["x-amz-server-side-encryption", "aws:kms"],
    ["x-amz-server-side-encryption-aws-kms-key-id", "k"],
    ["x-amz-object-lock-mode", "GOVERNANCE"],
    ["x-amz-object-lock-legal-hold", "ON"],
    ["x-amz-write-offset-bytes", "0"],
  ])("%s: %s is NotImplemented, and nothing is stored", async (name, value) => {
    expect(await send(zones, "PUT", "/plain/unbuilt", { headers: { [name]: value }, body: "b" })).toMatchObject({
      status: 501,
      code: "NotImplemented",
    });
    expect(await send(zones, "HEAD", "/plain/unbuilt")).toMatchObject({ status: 404 });
  });

  test("are not SSE-S3, which every object has", async () => {
    expect(await put("encrypted", "b", { ServerSideEncryption: "AES256" })).toMatchObject({
      ServerSideEncryption: "AES256",
    });
    expect(await send(zones, "PUT", "/plain/k", { headers: { "x-amz-server-side-encryption": "DES" } })).toMatchObject({
      code: "InvalidEncryptionAlgorithmError",
    });
  });
});

describe("Ranges", () => {
  test.each(["small", "large"])("of a %s object are 206 with Content-Range", async (name) => {
    const body = name === "small" ? "0123456789" : "0123456789".repeat(2000);
    await put(name, body);
    for (const [Range, start, end] of [
      ["bytes=2-5", 2, 6],
      ["bytes=7-", 7, body.length],
      ["bytes=-3", body.length - 3, body.length],
      ["bytes=5-999999", 5, body.length],
    ] as const) {
      const answer = await get(name, { Range });
      expect(answer.$metadata.httpStatusCode).toBe(206);
      expect(answer.text).toBe(body.slice(start, end));
      expect(answer.ContentRange).toBe(`bytes ${start}-${end - 1}/${body.length}`);
      expect(answer.ContentLength).toBe(end - start);
      expect(await head(name, { Range })).toMatchObject({
        ContentLength: end - start,
        ContentRange: answer.ContentRange,
      });
    }
  });

  test("that can't be satisfied are 416 InvalidRange, of an empty object too", async () => {
    await put("empty", Buffer.alloc(0));
    await put("ten", "0123456789");
    for (const [key, range] of [
      ["empty", "bytes=0-"],
      ["empty", "bytes=0-5242879"],
      ["empty", "bytes=-1"],
      ["ten", "bytes=10-"],
    ]) {
      const answer = await send(zones, "GET", `/plain/${key}`, { headers: { range: range! } });
      expect(answer).toMatchObject({ status: 416, code: "InvalidRange" });
      expect(answer.xml("Error").textOf("ActualObjectSize")).toBe(key === "empty" ? "0" : "10");
    }
  });

  test("of several pieces, or of another unit, mean the whole", async () => {
    await put("ten", "0123456789");
    for (const range of ["bytes=0-1,4-5", "lines=1-2"]) {
      expect(await send(zones, "GET", "/plain/ten", { headers: { range } })).toMatchObject({
        status: 200,
        text: "0123456789",
      });
    }
  });

  test("by partNumber are those of the parts, one for a body that was put whole", async () => {
    await put("ten", "0123456789");
    const first = await get("ten", { PartNumber: 1 });
    expect(first).toMatchObject({ text: "0123456789", ContentRange: "bytes 0-9/10" });
    expect(first.PartsCount).toBeUndefined();
    expect(await send(zones, "GET", "/plain/ten?partNumber=2")).toMatchObject({
      status: 416,
      code: "InvalidPartNumber",
    });
    for (const partNumber of ["0", "10001", "x", "-1", ""]) {
      expect(await send(zones, "GET", `/plain/ten?partNumber=${partNumber}`)).toMatchObject({
        code: "InvalidArgument",
      });
    }
    expect(await send(zones, "PUT", "/plain/ten?partNumber=1", { body: "b" })).toMatchObject({
      code: "InvalidArgument",
    });
    const both = await send(zones, "GET", "/plain/ten?partNumber=1", { headers: { range: "bytes=0-1" } });
    expect(both).toMatchObject({ status: 400, code: "InvalidRequest" });
  });
});

describe("Conditions", () => {
  test("of a read answer 304 without a body, or 412", async () => {
    const { ETag } = await put("conditional", "b", { CacheControl: "max-age=1" });
    const unchanged = await send(zones, "GET", "/plain/conditional", { headers: { "if-none-match": ETag! } });
    expect(unchanged).toMatchObject({ status: 304, text: "", headers: { etag: ETag, "cache-control": "max-age=1" } });
    await expect(get("conditional", { IfMatch: '"other"' })).rejects.toMatchObject(refused("PreconditionFailed", 412));
    await expect(get("conditional", { IfUnmodifiedSince: new Date(0) })).rejects.toMatchObject(
      refused("PreconditionFailed", 412),
    );
    expect(await send(zones, "HEAD", "/plain/conditional", { headers: { "if-match": '"other"' } })).toMatchObject({
      status: 412,
      text: "",
    });
    expect((await get("conditional", { IfMatch: ETag })).text).toBe("b");
  });

  test("of a write are decided with it", async () => {
    await put("once", "1", { IfNoneMatch: "*" });
    await expect(put("once", "2", { IfNoneMatch: "*" })).rejects.toMatchObject(refused("PreconditionFailed", 412));
    const { ETag } = await head("once");
    await put("once", "3", { IfMatch: ETag });
    await expect(put("once", "4", { IfMatch: ETag })).rejects.toMatchObject(refused("PreconditionFailed", 412));
    await expect(put("never", "1", { IfMatch: ETag })).rejects.toMatchObject(refused("NoSuchKey", 404));
    expect((await get("once")).text).toBe("3");
  });
});

describe("response-* parameters", () => {
  test("stand in the place of the object's headers", async () => {
    await put("overridden", "b", { ContentType: "text/plain" });
    const answer = await get("overridden", {
      ResponseContentType: "text/html",
      ResponseContentDisposition: "attachment",
      ResponseCacheControl: "no-store",
      ResponseContentLanguage: "de",
      ResponseContentEncoding: "identity",
      ResponseExpires: new Date("2030-01-01T00:00:00Z"),
    });
    expect(answer).toMatchObject({
      ContentType: "text/html",
      ContentDisposition: "attachment",
      CacheControl: "no-store",
      ContentLanguage: "de",
    });
  });

  test.each(["%0d%0aSet-Cookie:x", "%00", "%E4%B8%AD"])("are InvalidArgument with %s", async (value) => {
    await put("overridden", "b");
    expect(await send(zones, "GET", `/plain/overridden?response-content-type=${value}`)).toMatchObject({
      status: 400,
      code: "InvalidArgument",
    });
  });
});

describe("Versions", () => {
  const versioned = { Bucket: "versioned", Key: "v" };

  test("are read by id; a delete marker is 404 where it is current and 405 by its id", async () => {
    const [first, second] = [await put("v", "1", versioned), await put("v", "2", versioned)];
    expect(first.VersionId).toMatch(/^[0-9]{19}$/);
    expect(await get("v", { ...versioned, VersionId: first.VersionId })).toMatchObject({
      text: "1",
      VersionId: first.VersionId,
    });
    expect(await get("v", versioned)).toMatchObject({ text: "2", VersionId: second.VersionId });
    const marker = await s3.send(new DeleteObjectCommand(versioned));
    expect(marker).toMatchObject({ DeleteMarker: true, VersionId: expect.any(String) });
    const current = await send(zones, "GET", "/versioned/v");
    expect(current).toMatchObject({ status: 404, code: "NoSuchKey" });
    expect(current.headers).toMatchObject({ "x-amz-delete-marker": "true", "x-amz-version-id": marker.VersionId });
    for (const method of ["GET", "HEAD"]) {
      const byId = await send(zones, method, `/versioned/v?versionId=${marker.VersionId}`);
      expect(byId).toMatchObject({ status: 405, headers: { "x-amz-delete-marker": "true", allow: "DELETE" } });
      expect(byId.headers["last-modified"]).toBeTruthy();
    }
    expect((await get("v", { ...versioned, VersionId: second.VersionId })).text).toBe("2");
  });

  test("that aren't there are NoSuchVersion, ids that are none InvalidArgument", async () => {
    expect(await send(zones, "GET", "/versioned/v?versionId=1000000000000000000")).toMatchObject({
      status: 404,
      code: "NoSuchVersion",
    });
    for (const id of ["", "x", "12345678901234567890", "v1"]) {
      expect(await send(zones, "GET", `/versioned/v?versionId=${id}`)).toMatchObject({
        status: 400,
        code: "InvalidArgument",
      });
    }
  });

  test("have no id in a bucket that never had versioning, where `null` names the object", async () => {
    expect((await put("n", "b")).VersionId).toBeUndefined();
    expect((await get("n")).VersionId).toBeUndefined();
    expect((await get("n", { VersionId: "null" })).text).toBe("b");
  });
});
