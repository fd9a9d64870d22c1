import {
  CreateBucketCommand,
  GetBucketAclCommand,
  GetObjectAclCommand,
  PutBucketAclCommand,
  PutObjectAclCommand,
  PutObjectCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startZones, type Zones } from "../harness.ts";
import { send } from "./raw.ts";

let zones: Zones;
let s3: S3Client;
let ownerId: string;

beforeAll(async () => {
  zones = await startZones({ zones: ["ch-dk-2"] });
  s3 = zones.s3("ch-dk-2");
  ownerId = zones.organizations.main.id;
  await s3.send(new CreateBucketCommand({ Bucket: "bucket" }));
  await s3.send(new PutObjectCommand({ Bucket: "bucket", Key: "k", Body: "b" }));
});
afterAll(async () => await zones?.stop());

const document = (grants: string) =>
  `<AccessControlPolicy xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><AccessControlList>${grants}</AccessControlList></AccessControlPolicy>`;
const grant = (id: string, permission: string) =>
  `<Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"><ID>${id}</ID></Grantee><Permission>${permission}</Permission></Grant>`;
const everyone =
  '<Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="Group"><URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee><Permission>READ</Permission></Grant>';

describe("The ACL of a bucket and of an object", () => {
  test("gives its owner, by name, full control", async () => {
    const owner = { ID: ownerId, DisplayName: "main" };
    const expected = {
      Owner: owner,
      Grants: [{ Grantee: { ...owner, Type: "CanonicalUser" }, Permission: "FULL_CONTROL" }],
    };
    expect(await s3.send(new GetBucketAclCommand({ Bucket: "bucket" }))).toMatchObject(expected);
    expect(await s3.send(new GetObjectAclCommand({ Bucket: "bucket", Key: "k" }))).toMatchObject(expected);
  });

  test("declares xsi on the Grantee itself", async () => {
    const { text } = await send(zones, "GET", "/bucket?acl=");
    expect(text).toContain('<Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser">');
  });

  test("is NoSuchKey of an object that isn't there", async () => {
    expect(await send(zones, "GET", "/bucket/missing?acl")).toMatchObject({ status: 404, code: "NoSuchKey" });
    expect(await send(zones, "PUT", "/bucket/missing?acl", { headers: { "x-amz-acl": "private" } })).toMatchObject({
      code: "NoSuchKey",
    });
  });

  test.each(["/bucket?acl", "/bucket/k?acl"])("is written to %s if it says just that", async (target) => {
    for (const acl of ["private", "bucket-owner-full-control"]) {
      expect(await send(zones, "PUT", target, { headers: { "x-amz-acl": acl } })).toMatchObject({ status: 200 });
    }
    for (const grantee of [`id=${ownerId}`, `id="${ownerId}"`]) {
      expect(await send(zones, "PUT", target, { headers: { "x-amz-grant-full-control": grantee } })).toMatchObject({
        status: 200,
      });
    }
    expect(await send(zones, "PUT", target, { body: document(grant(ownerId, "FULL_CONTROL")) })).toMatchObject({
      status: 200,
    });
  });

  test.each(["/bucket?acl", "/bucket/k?acl"])(
    "is AccessControlListNotSupported to %s if it says anything else",
    async (target) => {
      const refused = { status: 400, code: "AccessControlListNotSupported" };
      expect(await send(zones, "PUT", target, { headers: { "x-amz-acl": "public-read" } })).toMatchObject(refused);
      for (const [name, grantee] of [
        ["read", `id=${ownerId}`],
        ["full-control", `id=${ownerId}, id=somebody`],
        ["full-control", 'uri="http://acs.amazonaws.com/groups/global/AllUsers"'],
        ["full-control", "emailAddress=a@b"],
      ]) {
        expect(await send(zones, "PUT", target, { headers: { [`x-amz-grant-${name}`]: grantee! } })).toMatchObject(
          refused,
        );
      }
      for (const grants of [
        "",
        grant("somebody", "FULL_CONTROL"),
        grant(ownerId, "READ"),
        everyone,
        grant(ownerId, "FULL_CONTROL") + everyone,
      ]) {
        expect(await send(zones, "PUT", target, { body: document(grants) })).toMatchObject(refused);
      }
    },
  );

  test("is refused where it is no ACL", async () => {
    const put = (headers: Record<string, string>, body?: string) =>
      send(zones, "PUT", "/bucket?acl", { headers, body });
    expect(await put({})).toMatchObject({ code: "MissingRequestBodyError" });
    expect(await put({}, "<AccessControlPolicy/>")).toMatchObject({ code: "MalformedXML" });
    expect(await put({ "x-amz-acl": "open" })).toMatchObject({ code: "InvalidArgument" });
    expect(await put({ "x-amz-grant-full-control": "everybody" })).toMatchObject({ code: "InvalidArgument" });
    expect(await put({ "x-amz-acl": "private", "x-amz-grant-full-control": `id=${ownerId}` })).toMatchObject({
      code: "InvalidRequest",
    });
    expect(await put({ "x-amz-acl": "private" }, document(grant(ownerId, "FULL_CONTROL")))).toMatchObject({
      code: "UnexpectedContent",
    });
  });

  test("may come with PutObject and stands to the same", async () => {
    const put = (headers: Record<string, string>) => send(zones, "PUT", "/bucket/with-acl", { headers, body: "b" });
    expect(await put({ "x-amz-acl": "private" })).toMatchObject({ status: 200 });
    expect(await put({ "x-amz-grant-full-control": `id=${ownerId}` })).toMatchObject({ status: 200 });
    expect(await put({ "x-amz-acl": "public-read" })).toMatchObject({ code: "AccessControlListNotSupported" });
  });

  test("is put by the SDK, checksum and all", async () => {
    await s3.send(new PutBucketAclCommand({ Bucket: "bucket", ACL: "private" }));
    const Grantee = { Type: "CanonicalUser" as const, ID: ownerId };
    const AccessControlPolicy = { Owner: { ID: ownerId }, Grants: [{ Grantee, Permission: "FULL_CONTROL" as const }] };
    await s3.send(new PutObjectAclCommand({ Bucket: "bucket", Key: "k", AccessControlPolicy }));
  });
});
