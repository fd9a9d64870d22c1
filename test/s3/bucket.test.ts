import {
  CreateBucketCommand,
  DeleteBucketCommand,
  DeleteObjectCommand,
  GetBucketCorsCommand,
  GetBucketLocationCommand,
  GetBucketOwnershipControlsCommand,
  GetBucketVersioningCommand,
  HeadBucketCommand,
  ListBucketsCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startZones, type Zones } from "../harness.ts";
import { send } from "./raw.ts";

let zones: Zones;
let s3: S3Client;
let alt: S3Client;
let far: S3Client;

beforeAll(async () => {
  zones = await startZones({ zones: ["ch-dk-2", "at-vie-1"] });
  s3 = zones.s3("ch-dk-2");
  alt = zones.s3("ch-dk-2", "alt");
  far = zones.s3("at-vie-1");
});
afterAll(async () => await zones?.stop());

const refused = (code: string, status: number) => ({
  name: code,
  $metadata: expect.objectContaining({ httpStatusCode: status }),
});
const create = (client: S3Client, Bucket: string, LocationConstraint?: string) => {
  const CreateBucketConfiguration = LocationConstraint
    ? { LocationConstraint: LocationConstraint as never }
    : undefined;
  return client.send(new CreateBucketCommand({ Bucket, CreateBucketConfiguration }));
};
const locationOf = async (Bucket: string) =>
  (await s3.send(new GetBucketLocationCommand({ Bucket }))).LocationConstraint;

describe("CreateBucket", () => {
  test("creates the bucket in the zone that the signature is scoped to", async () => {
    expect(await create(s3, "here")).toMatchObject({ Location: "/here" });
    expect(await locationOf("here")).toBe("ch-dk-2");
    await send(zones, "PUT", "/scoped", { zone: "ch-dk-2", region: "at-vie-1" });
    expect(await locationOf("scoped")).toBe("at-vie-1");
  });

  test("creates it where it is asked if the scope is `us-east-1` or `auto`", async () => {
    for (const region of ["us-east-1", "auto"]) {
      expect((await send(zones, "PUT", `/by-${region}`, { zone: "at-vie-1", region })).status).toBe(200);
      expect(await locationOf(`by-${region}`)).toBe("at-vie-1");
    }
  });

  test("creates it in the zone of the LocationConstraint, through any zone's endpoint", async () => {
    await create(s3, "constrained", "at-vie-1");
    expect(await locationOf("constrained")).toBe("at-vie-1");
    await far.send(new PutObjectCommand({ Bucket: "constrained", Key: "k", Body: "b" }));
  });

  test("is InvalidLocationConstraint for a zone that there isn't", async () => {
    await expect(create(s3, "nowhere", "eu-west-1")).rejects.toMatchObject(refused("InvalidLocationConstraint", 400));
  });

  test("again, in the same zone, succeeds and changes nothing", async () => {
    await create(s3, "again");
    await s3.send(new PutObjectCommand({ Bucket: "again", Key: "k", Body: "b" }));
    await create(s3, "again");
    await expect(s3.send(new DeleteBucketCommand({ Bucket: "again" }))).rejects.toMatchObject(
      refused("BucketNotEmpty", 409),
    );
  });

  test("again, in another zone, is BucketAlreadyOwnedByYou", async () => {
    await create(s3, "elsewhere");
    await expect(create(far, "elsewhere")).rejects.toMatchObject(refused("BucketAlreadyOwnedByYou", 409));
    await expect(create(s3, "elsewhere", "at-vie-1")).rejects.toMatchObject(refused("BucketAlreadyOwnedByYou", 409));
  });

  test("of somebody else's name is BucketAlreadyExists", async () => {
    await create(s3, "taken");
    await expect(create(alt, "taken")).rejects.toMatchObject(refused("BucketAlreadyExists", 409));
  });

  test.each([
    "ab",
    "A-bucket",
    "under_score",
    "-dash",
    "dash-",
    "a..b",
    "192.168.1.1",
    "xn--a",
    "a-s3alias",
    "a".repeat(64),
  ])("is InvalidBucketName for %s", async (name) => {
    expect(await send(zones, "PUT", `/${name}`)).toMatchObject({ status: 400, code: "InvalidBucketName" });
  });

  test.each([
    ["x-amz-bucket-object-lock-enabled", "true", "NotImplemented"],
    ["x-amz-object-ownership", "ObjectWriter", "NotImplemented"],
    ["x-amz-acl", "public-read", "AccessControlListNotSupported"],
    ["x-amz-acl", "open", "InvalidArgument"],
    ["x-zonal-slots", "0", "InvalidArgument"],
    ["x-zonal-slots", "65", "InvalidArgument"],
    ["x-zonal-slots", "many", "InvalidArgument"],
  ])("with %s: %s is refused, and makes no bucket", async (name, value, code) => {
    expect(await send(zones, "PUT", "/refused", { headers: { [name]: value } })).toMatchObject({ code });
    expect(await send(zones, "HEAD", "/refused")).toMatchObject({ status: 404 });
  });

  test("takes the ACL `private`, and a document with nothing in it", async () => {
    expect(await send(zones, "PUT", "/private", { headers: { "x-amz-acl": "private" } })).toMatchObject({
      status: 200,
    });
    const body = '<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"/>';
    expect(await send(zones, "PUT", "/plain-document", { body })).toMatchObject({ status: 200 });
  });

  test.each([
    ["<CreateBucketConfiguration>", "MalformedXML"],
    ["<Other/>", "MalformedXML"],
    ["<CreateBucketConfiguration><Unknown/></CreateBucketConfiguration>", "MalformedXML"],
    [
      "<CreateBucketConfiguration><Bucket><Type>Directory</Type></Bucket></CreateBucketConfiguration>",
      "NotImplemented",
    ],
  ])("with the document %s is %s", async (body, code) => {
    expect(await send(zones, "PUT", "/by-document", { body })).toMatchObject({ code });
  });
});

describe("HeadBucket", () => {
  test("tells the bucket's zone at any endpoint, to anybody", async () => {
    await create(s3, "headed");
    for (const zone of ["ch-dk-2", "at-vie-1"]) {
      const own = await zones.s3(zone).send(new HeadBucketCommand({ Bucket: "headed" }));
      expect(own.BucketRegion).toBe("ch-dk-2");
      for (const options of [
        { organization: "alt" as const },
        { isSigned: false },
        { key: { key: "EXO0", secret: "x" } },
      ]) {
        const answer = await send(zones, "HEAD", "/headed", { zone, ...options });
        expect(answer).toMatchObject({ status: 403, headers: { "x-amz-bucket-region": "ch-dk-2" }, text: "" });
      }
    }
  });

  test("is 404 without a document where there is no bucket", async () => {
    const answer = await send(zones, "HEAD", "/missing");
    expect(answer).toMatchObject({ status: 404, text: "" });
    expect(answer.headers["x-amz-bucket-region"]).toBeUndefined();
    expect(await send(zones, "HEAD", "/missing", { isSigned: false })).toMatchObject({ status: 404 });
  });
});

describe("DeleteBucket", () => {
  test("removes an empty bucket, whose name is free again for anybody", async () => {
    await create(s3, "passing");
    await far.send(new DeleteBucketCommand({ Bucket: "passing" }));
    await expect(s3.send(new GetBucketLocationCommand({ Bucket: "passing" }))).rejects.toMatchObject(
      refused("NoSuchBucket", 404),
    );
    await create(alt, "passing");
    await alt.send(new PutObjectCommand({ Bucket: "passing", Key: "k", Body: "b" }));
    await expect(s3.send(new PutObjectCommand({ Bucket: "passing", Key: "k", Body: "b" }))).rejects.toMatchObject(
      refused("AccessDenied", 403),
    );
  });

  test("is BucketNotEmpty as long as a version is there, and the bucket goes on", async () => {
    await create(s3, "full");
    await s3.send(new PutBucketVersioningCommand({ Bucket: "full", VersioningConfiguration: { Status: "Enabled" } }));
    const { VersionId } = await s3.send(new DeleteObjectCommand({ Bucket: "full", Key: "k" }));
    await expect(s3.send(new DeleteBucketCommand({ Bucket: "full" }))).rejects.toMatchObject(
      refused("BucketNotEmpty", 409),
    );
    await s3.send(new DeleteObjectCommand({ Bucket: "full", Key: "k", VersionId }));
    await s3.send(new DeleteBucketCommand({ Bucket: "full" }));
  });

  test("is NoSuchBucket where there is none", async () => {
    await expect(s3.send(new DeleteBucketCommand({ Bucket: "missing" }))).rejects.toMatchObject(
      refused("NoSuchBucket", 404),
    );
  });

  test("is meant by DELETE alone, not by one with a sub-resource", async () => {
    await create(s3, "kept");
    for (const target of ["/kept?acl", "/kept?versions", "/kept?location=", "/kept?uploads"]) {
      expect(await send(zones, "DELETE", target)).toMatchObject({ status: 405, code: "MethodNotAllowed" });
    }
    expect(await send(zones, "HEAD", "/kept")).toMatchObject({ status: 200 });
  });

  test("made anew in another zone, a bucket is found there by the zone that knew it here", async () => {
    await create(s3, "wanderer");
    await s3.send(new PutObjectCommand({ Bucket: "wanderer", Key: "k", Body: "old" }));
    await s3.send(new DeleteObjectCommand({ Bucket: "wanderer", Key: "k" }));
    await far.send(new HeadBucketCommand({ Bucket: "wanderer" }));
    await s3.send(new DeleteBucketCommand({ Bucket: "wanderer" }));
    await create(s3, "wanderer", "at-vie-1");
    expect((await far.send(new HeadBucketCommand({ Bucket: "wanderer" }))).BucketRegion).toBe("at-vie-1");
    expect((await s3.send(new HeadBucketCommand({ Bucket: "wanderer" }))).BucketRegion).toBe("at-vie-1");
  });
});

describe("ListBuckets", () => {
  test("lists the organization's own in name order, page by page", async () => {
    for (const name of ["list-c", "list-a", "list-b"]) await create(alt, name);
    const all = await alt.send(new ListBucketsCommand({ Prefix: "list-" }));
    expect(all.Buckets!.map(({ Name }) => Name)).toEqual(["list-a", "list-b", "list-c"]);
    expect(all.Buckets![0]).toMatchObject({ BucketRegion: "ch-dk-2", CreationDate: expect.any(Date) });
    expect(all).toMatchObject({ Prefix: "list-", Owner: { ID: zones.organizations.alt.id, DisplayName: "alt" } });
    const first = await alt.send(new ListBucketsCommand({ Prefix: "list-", MaxBuckets: 2 }));
    expect(first.Buckets).toHaveLength(2);
    const { ContinuationToken } = first;
    const second = await alt.send(new ListBucketsCommand({ Prefix: "list-", MaxBuckets: 2, ContinuationToken }));
    expect(second.Buckets!.map(({ Name }) => Name)).toEqual(["list-c"]);
    expect(second.ContinuationToken).toBeUndefined();
  });

  test("lists those of one zone by bucket-region", async () => {
    await create(alt, "regional", "at-vie-1");
    const { Buckets } = await alt.send(new ListBucketsCommand({ BucketRegion: "at-vie-1" }));
    expect(Buckets!.map(({ Name }) => Name)).toEqual(["regional"]);
  });

  test.each(["max-buckets=0", "max-buckets=-1", "max-buckets=x", "continuation-token=%00"])(
    "is InvalidArgument with %s",
    async (query) => {
      expect(await send(zones, "GET", `/?${query}`)).toMatchObject({ status: 400, code: "InvalidArgument" });
    },
  );
});

describe("Versioning", () => {
  test("has no status at first, then the one that was put", async () => {
    await create(s3, "versioned");
    const status = async () => (await s3.send(new GetBucketVersioningCommand({ Bucket: "versioned" }))).Status;
    const put = (Status: "Enabled" | "Suspended") => {
      return far.send(new PutBucketVersioningCommand({ Bucket: "versioned", VersioningConfiguration: { Status } }));
    };
    expect(await status()).toBeUndefined();
    await put("Enabled");
    expect(await status()).toBe("Enabled");
    await put("Suspended");
    expect(await status()).toBe("Suspended");
  });

  test.each([
    ["", "MissingRequestBodyError"],
    ["<VersioningConfiguration/>", "IllegalVersioningConfigurationException"],
    ["<VersioningConfiguration><Status>On</Status></VersioningConfiguration>", "MalformedXML"],
    [
      "<VersioningConfiguration><Status>Enabled</Status><Status>Enabled</Status></VersioningConfiguration>",
      "MalformedXML",
    ],
    [
      "<VersioningConfiguration><Status>Enabled</Status><MfaDelete>Enabled</MfaDelete></VersioningConfiguration>",
      "NotImplemented",
    ],
  ])("put as %j is %s", async (body, code) => {
    await create(s3, "misversioned");
    expect(await send(zones, "PUT", "/misversioned?versioning", { body })).toMatchObject({ code });
    const { Status } = await s3.send(new GetBucketVersioningCommand({ Bucket: "misversioned" }));
    expect(Status).toBeUndefined();
  });
});

describe("What every bucket is so far", () => {
  test("without CORS configuration, owned by its organization alone", async () => {
    await create(s3, "bare");
    await expect(s3.send(new GetBucketCorsCommand({ Bucket: "bare" }))).rejects.toMatchObject(
      refused("NoSuchCORSConfiguration", 404),
    );
    const { OwnershipControls } = await s3.send(new GetBucketOwnershipControlsCommand({ Bucket: "bare" }));
    expect(OwnershipControls).toEqual({ Rules: [{ ObjectOwnership: "BucketOwnerEnforced" }] });
  });
});
