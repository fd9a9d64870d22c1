import { CreateBucketCommand } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startZones, type Zones } from "../harness.ts";
import { send } from "./raw.ts";

let zones: Zones;

beforeAll(async () => {
  zones = await startZones({ zones: ["ch-dk-2"] });
  await zones.s3("ch-dk-2").send(new CreateBucketCommand({ Bucket: "bucket" }));
});
afterAll(async () => await zones?.stop());

describe("What S3 has and we don't", () => {
  test.each([
    ["GET", "/bucket?lifecycle", "GetBucketLifecycleConfiguration"],
    ["PUT", "/bucket?policy", "PutBucketPolicy"],
    ["DELETE", "/bucket?policy", "DeleteBucketPolicy"],
    ["GET", "/bucket?analytics", "ListBucketAnalyticsConfigurations"],
    ["GET", "/bucket?analytics&id=1", "GetBucketAnalyticsConfiguration"],
    ["DELETE", "/bucket?cors", "DeleteBucketCors"],
    ["DELETE", "/bucket?publicAccessBlock", "DeletePublicAccessBlock"],
    ["GET", "/bucket?object-lock", "GetObjectLockConfiguration"],
    ["PUT", "/bucket?tagging", "PutBucketTagging"],
    ["POST", "/bucket", "PostObject"],
    ["GET", "/bucket/k?attributes", "GetObjectAttributes"],
    ["PUT", "/bucket/k?retention", "PutObjectRetention"],
    ["POST", "/bucket/k?restore", "RestoreObject"],
    ["POST", "/bucket/k?select&select-type=2", "SelectObjectContent"],
    ["GET", "/bucket/k?torrent", "GetObjectTorrent"],
  ])("%s %s is NotImplemented, by the name %s", async (method, target, name) => {
    const answer = await send(zones, method, target, { body: method === "GET" ? undefined : "<x/>" });
    expect(answer).toMatchObject({ status: 501, code: "NotImplemented" });
    expect(answer.text).toContain(name);
  });

  test("is a browser's form too, which carries no signature of ours", async () => {
    const headers = { "content-type": "multipart/form-data; boundary=x" };
    expect(await send(zones, "POST", "/bucket", { isSigned: false, headers, body: "--x--" })).toMatchObject({
      status: 501,
    });
  });

  test.each([
    ["DELETE", "/"],
    ["POST", "/"],
    ["PATCH", "/bucket"],
    ["POST", "/bucket/k"],
    ["DELETE", "/bucket/k?acl"],
    ["PUT", "/bucket/k?uploads"],
    ["GET", "/bucket?acl&versioning"],
  ])("%s %s is MethodNotAllowed, since S3 hasn't it either", async (method, target) => {
    expect(await send(zones, method, target)).toMatchObject({ status: 405, code: "MethodNotAllowed" });
  });
});
