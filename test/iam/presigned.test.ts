/** Presigned queries: AWS's published example, changed in every way that must be refused, and the AWS SDK's own. */
import { GetObjectCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { describe, expect, test } from "vitest";
import { hoistedHeaders, verify } from "../../src/iam/signature.ts";
import { ACCESS_KEY, check, EMPTY, example, NOW, PRESIGNED, SECRET, USUAL } from "./examples.ts";

describe("a presigned query", () => {
  const without = (name: string) => PRESIGNED.rawQuery.replace(new RegExp(`&?${name}=[^&]*`), "");
  const withValue = (name: string, value: string) =>
    PRESIGNED.rawQuery.replace(new RegExp(`${name}=[^&]*`), `${name}=${value}`);

  test.each([
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Signature",
    "X-Amz-Date",
    "X-Amz-SignedHeaders",
    "X-Amz-Expires",
  ])("without %s is AuthorizationQueryParametersError", async (name) => {
    await expect(check(PRESIGNED, { rawQuery: without(name) })).rejects.toMatchObject({
      code: "AuthorizationQueryParametersError",
      status: 400,
    });
  });

  test.each([
    ["X-Amz-Algorithm", "AWS4-ECDSA-P256-SHA256", "X-Amz-Algorithm only supports"],
    ["X-Amz-Date", "20130524", "ISO8601 Long Format"],
    ["X-Amz-Expires", "-1", "must be non-negative"],
    ["X-Amz-Expires", "1h", "should be a number"],
    ["X-Amz-Expires", "604801", "must be less than a week"],
    ["X-Amz-Expires", "99999999999999999999", "must be less than a week"],
    ["X-Amz-Credential", "AKID", "the Credential is mal-formed"],
    ["X-Amz-Credential", `${ACCESS_KEY}/20130524/eu-west-1/s3/aws4_request`, "the region 'eu-west-1' is wrong"],
    ["X-Amz-SignedHeaders", "host%0Ax", "SignedHeaders"],
  ])("with %s=%s is AuthorizationQueryParametersError", async (name, value, message) => {
    await expect(check(PRESIGNED, { rawQuery: withValue(name, value) })).rejects.toMatchObject({
      code: "AuthorizationQueryParametersError",
      message: expect.stringContaining(message),
    });
  });

  test("an expiry of 0 is expired, also for a client whose clock is ahead", async () => {
    for (const now of [NOW, NOW - 60_000]) {
      const refused = { code: "AccessDenied", message: "Request has expired" };
      await expect(check(PRESIGNED, { rawQuery: withValue("X-Amz-Expires", "0"), now })).rejects.toMatchObject(refused);
    }
  });

  test("a date more than 15 minutes ahead isn't valid yet", async () => {
    expect(await check(PRESIGNED, { now: NOW - 900_000 })).toBeDefined();
    const refused = { code: "AccessDenied", message: "Request is not valid yet" };
    await expect(check(PRESIGNED, { now: NOW - 900_001 })).rejects.toMatchObject(refused);
  });

  test("headers: x-amz-* must be signed, but for x-amz-content-sha256, which says how the body comes", async () => {
    await expect(check(PRESIGNED, { headers: { "x-amz-meta-a": "b" } })).rejects.toMatchObject({
      code: "AccessDenied",
    });
    const hash = await check(PRESIGNED, { headers: { "x-amz-content-sha256": EMPTY } });
    expect(hash!.payload).toEqual({ kind: "hash", sha256: EMPTY });
    const trailer = await check(PRESIGNED, {
      headers: { "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER" },
    });
    expect(trailer!.payload).toEqual({ kind: "streaming-unsigned-trailer" });
    await expect(check(PRESIGNED, { headers: { "x-amz-content-sha256": "x" } })).rejects.toMatchObject({
      code: "InvalidArgument",
    });
  });

  test("the session token comes from the query, or from the header with header authentication", async () => {
    const seen: (string | undefined)[] = [];
    const secretOf = async (_: string, token: string | undefined) => {
      seen.push(token);
      return SECRET;
    };
    const options = { regions: ["us-east-1"], now: NOW, secretOf };
    const rawQuery = `${PRESIGNED.rawQuery}&X-Amz-Security-Token=t%2F1`;
    await verify({ ...PRESIGNED, rawQuery, acceptEncodings: [] }, options).catch(() => {});
    const request = example("GET", "/?X-Amz-Security-Token=no", `${USUAL};x-amz-security-token`, "0", {
      "x-amz-security-token": "t2",
    });
    await verify({ ...request, acceptEncodings: [] }, options).catch(() => {});
    expect(seen).toEqual(["t/1", "t2"]);
  });

  test("what the look-up of the secret throws is thrown", async () => {
    const secretOf = () => Promise.reject(new Error("no such key"));
    const options = { regions: ["us-east-1"], now: NOW, secretOf };
    await expect(verify({ ...PRESIGNED, acceptEncodings: [] }, options)).rejects.toThrow("no such key");
  });
});

describe("the AWS SDK's presigner", () => {
  const client = new S3Client({
    region: "ch-dk-2",
    endpoint: "http://127.0.0.1:9000",
    forcePathStyle: true,
    credentials: { accessKeyId: ACCESS_KEY, secretAccessKey: SECRET, sessionToken: "token/with+signs=" },
  });
  const verifyUrl = (method: string, url: string) => {
    const [, host, rawPath, rawQuery] = /^http:\/\/([^/]*)([^?]*)\?(.*)$/.exec(url)!;
    const request = { method, rawPath: rawPath!, rawQuery: rawQuery!, headers: new Headers({ host: host! }) };
    return check(request, { now: Date.now() });
  };

  test("is verified, awkward keys too", async () => {
    for (const Key of ["a/b", "ü ber/../x//y", "%2F+&=?", "a!'()*b"]) {
      const get = await getSignedUrl(client, new GetObjectCommand({ Bucket: "b", Key, VersionId: "1" }));
      expect(await verifyUrl("GET", get)).toMatchObject({ isPresigned: true, sessionToken: "token/with+signs=" });
      await expect(verifyUrl("GET", get.replace("versionId=1", "versionId=2"))).rejects.toMatchObject({
        code: "SignatureDoesNotMatch",
      });
    }
  });

  test("puts headers in the query, where they count; the checksum of nothing doesn't", async () => {
    const put = new PutObjectCommand({ Bucket: "b", Key: "k", ACL: "private", Metadata: { a: "b c" }, Tagging: "x=y" });
    const url = await getSignedUrl(client, put);
    expect(await verifyUrl("PUT", url)).toMatchObject({ payload: { kind: "unsigned" } });
    expect(url).toContain("x-amz-checksum-crc32=AAAAAA");
    expect(hoistedHeaders(url.slice(url.indexOf("?") + 1))).toEqual({
      "x-amz-acl": "private",
      "x-amz-meta-a": "b c",
      "x-amz-tagging": "x=y",
    });
  });
});
