import {
  CreateBucketCommand,
  GetObjectCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startZones, type Zones } from "../harness.ts";
import { exchange, send } from "./raw.ts";

let zones: Zones;
let s3: S3Client;

beforeAll(async () => {
  zones = await startZones({ zones: ["ch-dk-2", "at-vie-1"] });
  s3 = zones.s3("ch-dk-2");
  await s3.send(new CreateBucketCommand({ Bucket: "near" }));
  await zones.s3("at-vie-1").send(new CreateBucketCommand({ Bucket: "far" }));
  await s3.send(new PutObjectCommand({ Bucket: "near", Key: "k", Body: "body" }));
});
afterAll(async () => await zones?.stop());

/** A key whose role allows what the expression says. */
async function keyFor(expression: string): Promise<{ key: string; secret: string }> {
  const rules = [{ action: "allow", expression }];
  const policy = { "default-service-strategy": "deny", services: { sos: { type: "rules", rules } } };
  const name = `role-${crypto.randomUUID()}`;
  const role = await zones.control<{ reference: { id: string } }>("POST", "/iam-role", { name, policy });
  return (
    await zones.control<{ key: string; secret: string }>("POST", "/api-key", {
      name,
      "role-id": role.body.reference.id,
    })
  ).body;
}

describe("Every answer", () => {
  test("carries ids of its own, and the bucket's zone", async () => {
    const targets = [
      "/",
      "/near",
      "/near/k",
      "/near/missing",
      "/near?policy",
      "/far",
      "/far/missing",
      "/near/%ff",
      "/missing-bucket",
    ];
    const ids = new Set<unknown>();
    for (const target of targets) {
      const { headers } = await send(zones, "GET", target);
      expect(headers["x-amz-request-id"]).toMatch(/^[0-9A-F]{16}$/);
      expect(headers["x-amz-id-2"]).toBeTruthy();
      ids.add(headers["x-amz-request-id"]);
      const zone =
        target.startsWith("/near") && target !== "/near/%ff"
          ? "ch-dk-2"
          : target.startsWith("/far")
            ? "at-vie-1"
            : undefined;
      expect(headers["x-amz-bucket-region"]).toBe(zone);
    }
    expect(ids.size).toBe(targets.length);
  });

  test("that is an error is a document of S3's", async () => {
    const answer = await send(zones, "GET", "/near/a%20b?versionId=1000000000000000000");
    expect(answer).toMatchObject({ status: 404, headers: { "content-type": "application/xml" } });
    const root = answer.xml("Error");
    expect(root.children.map(({ name }) => name)).toEqual([
      "Code",
      "Message",
      "Key",
      "VersionId",
      "Resource",
      "RequestId",
      "HostId",
    ]);
    expect(root.textOf("Key")).toBe("a b");
    expect(root.textOf("Resource")).toBe("/near/a%20b");
    expect(root.textOf("RequestId")).toBe(answer.headers["x-amz-request-id"]);
    expect(root.textOf("HostId")).toBe(answer.headers["x-amz-id-2"]);
  });
});

describe("A request through another zone's endpoint", () => {
  test("is answered by the zone where the bucket lives, target and body as they were sent", async () => {
    for (const [method, target] of [
      ["PUT", "/far/a/../%2E%2E//b%20+"],
      ["GET", "/far/a/../..//b%20+"],
      ["HEAD", "/far/a/%2e%2e/..//b%20+"],
    ]) {
      const answer = await send(zones, method!, target!, { body: method === "PUT" ? "x".repeat(100_000) : undefined });
      expect(answer).toMatchObject({ status: 200, headers: { "x-amz-bucket-region": "at-vie-1" } });
      if (method === "GET") expect(answer.text).toHaveLength(100_000);
      if (method === "HEAD") expect(answer.headers["content-length"]).toBe("100000");
    }
  });

  test("may be streamed and signed chunk by chunk, as SDKs do", async () => {
    await s3.send(
      new PutObjectCommand({
        Bucket: "far",
        Key: "sdk",
        Body: Buffer.alloc(300_000, 1),
        ChecksumAlgorithm: "CRC64NVME",
      }),
    );
    const { Body } = await s3.send(new GetObjectCommand({ Bucket: "far", Key: "sdk", ChecksumMode: "ENABLED" }));
    expect(await Body!.transformToByteArray()).toHaveLength(300_000);
  });

  test("is refused as it is there", async () => {
    expect(await send(zones, "GET", "/far/missing")).toMatchObject({ status: 404, code: "NoSuchKey" });
    expect(await send(zones, "GET", "/far/k", { organization: "alt" })).toMatchObject({
      status: 403,
      code: "AccessDenied",
    });
    expect(
      await send(zones, "PUT", "/far/k", { body: "b", headers: { "x-amz-content-sha256": "0".repeat(64) } }),
    ).toMatchObject({ status: 400 });
  });
});

describe("Who asks", () => {
  test("without a signature is AccessDenied, but learns whether there is such a bucket", async () => {
    const anonymous = { isSigned: false };
    for (const target of ["/near", "/near/k", "/near/missing", "/far/k"]) {
      expect(await send(zones, "GET", target, anonymous)).toMatchObject({ status: 403, code: "AccessDenied" });
    }
    expect(await send(zones, "GET", "/", anonymous)).toMatchObject({ status: 403, code: "AccessDenied" });
    expect(await send(zones, "PUT", "/new-bucket", anonymous)).toMatchObject({ status: 403, code: "AccessDenied" });
    expect(await send(zones, "GET", "/missing-bucket/k", anonymous)).toMatchObject({
      status: 404,
      code: "NoSuchBucket",
    });
  });

  test("with a wrong secret or an unknown key is told so, with the bucket's zone", async () => {
    const { key } = zones.organizations.main;
    expect(await send(zones, "GET", "/near/k", { key: { key, secret: "wrong" } })).toMatchObject({
      status: 403,
      code: "SignatureDoesNotMatch",
      headers: { "x-amz-bucket-region": "ch-dk-2" },
    });
    expect(await send(zones, "GET", "/near/k", { key: { key: "EXOunknown", secret: "x" } })).toMatchObject({
      code: "InvalidAccessKeyId",
    });
  });

  test("for another organization is AccessDenied, whatever is there", async () => {
    for (const [method, target] of [
      ["GET", "/near/k"],
      ["GET", "/near/missing"],
      ["PUT", "/near/k"],
      ["DELETE", "/near"],
      ["GET", "/near?acl"],
    ]) {
      expect(await send(zones, method!, target!, { organization: "alt" })).toMatchObject({
        status: 403,
        code: "AccessDenied",
      });
    }
  });

  test("is held to the owner that the request expects", async () => {
    const expecting = (id: string) => send(zones, "GET", "/near/k", { headers: { "x-amz-expected-bucket-owner": id } });
    expect(await expecting(zones.organizations.main.id)).toMatchObject({ status: 200 });
    expect(await expecting(zones.organizations.alt.id)).toMatchObject({ status: 403, code: "AccessDenied" });
  });

  test("signs for any zone, for us-east-1 or auto, and for nothing else", async () => {
    for (const region of ["ch-dk-2", "at-vie-1", "us-east-1", "auto"]) {
      expect(await send(zones, "GET", "/near/k", { region })).toMatchObject({ status: 200 });
    }
    expect(await send(zones, "GET", "/near/k", { region: "eu-west-1" })).toMatchObject({
      code: "AuthorizationHeaderMalformed",
    });
  });
});

describe("A role's policy", () => {
  test("decides before anything is known of the object", async () => {
    const key = await keyFor("operation == 'get-object' && parameters.key == 'k'");
    expect(await send(zones, "GET", "/near/k", { key })).toMatchObject({ status: 200 });
    expect(await send(zones, "HEAD", "/near/k", { key })).toMatchObject({ status: 200 });
    for (const target of [
      "/near/other",
      "/near/a/../k",
      "/near/k/",
      "/near?list-type=2",
      "/missing-bucket/other",
      "/",
    ]) {
      expect(await send(zones, "GET", target, { key })).toMatchObject({ status: 403, code: "AccessDenied" });
    }
    expect(await send(zones, "PUT", "/near/k", { key, body: "b" })).toMatchObject({ status: 403 });
    expect(await send(zones, "GET", "/missing-bucket/k", { key })).toMatchObject({ status: 404, code: "NoSuchBucket" });
  });

  test("sees bucket, key, version id and prefix, each where the request has it", async () => {
    await s3.send(new PutBucketVersioningCommand({ Bucket: "near", VersioningConfiguration: { Status: "Enabled" } }));
    const byVersion = await keyFor("has(parameters.version_id) && parameters.bucket == 'near'");
    expect(await send(zones, "GET", "/near/k?versionId=null", { key: byVersion })).toMatchObject({ status: 200 });
    expect(await send(zones, "GET", "/near/k", { key: byVersion })).toMatchObject({ status: 403 });
    const byPrefix = await keyFor("operation == 'list-objects' && parameters.prefix.startsWith('mine/')");
    expect(await send(zones, "GET", "/near?list-type=2&prefix=mine/a", { key: byPrefix })).toMatchObject({
      status: 200,
    });
    expect(await send(zones, "GET", "/near?prefix=", { key: byPrefix })).toMatchObject({ status: 403 });
    expect(await send(zones, "GET", "/near", { key: byPrefix })).toMatchObject({ status: 403 });
  });

  test("is asked for put-object-acl and put-object-tagging where the headers say so", async () => {
    const key = await keyFor("operation == 'put-object'");
    const put = (headers: Record<string, string>) => send(zones, "PUT", "/near/by-role", { key, headers, body: "b" });
    expect(await put({})).toMatchObject({ status: 200 });
    expect(await put({ "x-amz-acl": "private" })).toMatchObject({ status: 403 });
    expect(await put({ "x-amz-tagging": "a=1" })).toMatchObject({ status: 403 });
    const more = await keyFor("operation in ['put-object', 'put-object-tagging'] || parameters.acl == 'custom'");
    expect(
      await send(zones, "PUT", "/near/by-role", { key: more, headers: { "x-amz-tagging": "a=1" }, body: "b" }),
    ).toMatchObject({ status: 200 });
    const custom = { "x-amz-grant-full-control": `id=${zones.organizations.main.id}` };
    expect(await send(zones, "PUT", "/near/by-role", { key: more, headers: custom, body: "b" })).toMatchObject({
      status: 200,
    });
  });
});

describe("A presigned URL", () => {
  const open = async (method: string, url: string, body?: string, headers = {}) => {
    const { pathname, search } = new URL(url);
    return await exchange(new URL(url), method, pathname + search, { host: new URL(url).host, ...headers }, body);
  };

  test("gets and puts, through any zone", async () => {
    for (const Bucket of ["near", "far"]) {
      const put = await getSignedUrl(s3, new PutObjectCommand({ Bucket, Key: "presigned ü", Metadata: { a: "1" } }));
      expect(await open("PUT", put, "presigned")).toMatchObject({ status: 200 });
      const get = await getSignedUrl(
        s3,
        new GetObjectCommand({ Bucket, Key: "presigned ü", ResponseContentType: "text/x" }),
      );
      expect(await open("GET", get)).toMatchObject({
        status: 200,
        text: "presigned",
        headers: { "content-type": "text/x", "x-amz-meta-a": "1" },
      });
    }
  });

  test("means the headers in its query, for authorization too", async () => {
    const url = await getSignedUrl(s3, new PutObjectCommand({ Bucket: "near", Key: "k", ACL: "public-read" }));
    expect(url).toContain("x-amz-acl=public-read");
    expect(await open("PUT", url, "b")).toMatchObject({ code: "AccessControlListNotSupported" });
    expect(await send(zones, "PUT", "/near/k?x-amz-acl=public-read", { body: "body" })).toMatchObject({ status: 200 });
  });
});
