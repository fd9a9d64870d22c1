import {
  CreateBucketCommand,
  DeleteObjectCommand,
  ListObjectsCommand,
  ListObjectsV2Command,
  ListObjectVersionsCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startZones, type Zones } from "../harness.ts";
import { send } from "./raw.ts";

/** In S3's order, which is that of UTF-8's bytes: U+FF21 before U+1F600, other than in UTF-16. */
const KEYS = ["a b", "a+b", "asdf", "boo/bar", "boo/baz/x", "cquux/thud", "cquux/b", "Ａ", "😀"].sort((one, other) =>
  Buffer.compare(Buffer.from(one), Buffer.from(other)),
);

let zones: Zones;
let s3: S3Client;

beforeAll(async () => {
  zones = await startZones({ zones: ["ch-dk-2"] });
  s3 = zones.s3("ch-dk-2");
  for (const Bucket of ["keys", "versions", "odd"]) await s3.send(new CreateBucketCommand({ Bucket }));
  await Promise.all(KEYS.map((Key) => s3.send(new PutObjectCommand({ Bucket: "keys", Key, Body: "b" }))));
  await s3.send(new PutBucketVersioningCommand({ Bucket: "versions", VersioningConfiguration: { Status: "Enabled" } }));
});
afterAll(async () => await zones?.stop());

const keysOf = ({ Contents = [] }: { Contents?: { Key?: string }[] }) => Contents.map(({ Key }) => Key);
const prefixesOf = ({ CommonPrefixes = [] }: { CommonPrefixes?: { Prefix?: string }[] }) =>
  CommonPrefixes.map(({ Prefix }) => Prefix);

describe("ListObjectsV2", () => {
  const list = (more = {}) => s3.send(new ListObjectsV2Command({ Bucket: "keys", ...more }));

  test("lists keys in the order of their UTF-8", async () => {
    const page = await list();
    expect(keysOf(page)).toEqual(KEYS);
    expect(page).toMatchObject({ Name: "keys", Prefix: "", MaxKeys: 1000, KeyCount: KEYS.length, IsTruncated: false });
    expect(page.Contents![0]).toMatchObject({
      Size: 1,
      StorageClass: "STANDARD",
      ETag: '"92eb5ffee6ae2fec3ad71c777531578f"',
      LastModified: expect.any(Date),
    });
    expect(page.Contents![0]!.Owner).toBeUndefined();
  });

  test("names the owner if it is asked to", async () => {
    const { Contents } = await list({ FetchOwner: true });
    expect(Contents![0]!.Owner).toEqual({ ID: zones.organizations.main.id, DisplayName: "main" });
  });

  test("folds what has the delimiter, of any length", async () => {
    expect(await list({ Delimiter: "/" })).toMatchObject({ KeyCount: KEYS.length - 2, Delimiter: "/" });
    expect(prefixesOf(await list({ Delimiter: "/" }))).toEqual(["boo/", "cquux/"]);
    expect(prefixesOf(await list({ Delimiter: "/", Prefix: "boo/" }))).toEqual(["boo/baz/"]);
    expect(prefixesOf(await list({ Delimiter: "oo/ba" }))).toEqual(["boo/ba"]);
  });

  test("pages through all of it, whatever the size of a page", async () => {
    for (const MaxKeys of [1, 2, 4]) {
      for (const Delimiter of [undefined, "/"]) {
        const seen: (string | undefined)[] = [];
        let ContinuationToken: string | undefined;
        do {
          const page = await list({ MaxKeys, Delimiter, ContinuationToken });
          expect(page.KeyCount).toBeLessThanOrEqual(MaxKeys);
          seen.push(...[...keysOf(page), ...prefixesOf(page)].sort());
          ContinuationToken = page.NextContinuationToken;
          expect(page.IsTruncated).toBe(ContinuationToken !== undefined);
        } while (ContinuationToken);
        const whole = await list({ Delimiter });
        expect([...seen].sort()).toEqual([...keysOf(whole), ...prefixesOf(whole)].sort());
      }
    }
  });

  test("begins behind start-after, and by the token after that", async () => {
    expect(keysOf(await list({ StartAfter: "asdf" }))[0]).toBe("boo/bar");
    const page = await list({ StartAfter: "asdf", MaxKeys: 1 });
    const next = await list({ StartAfter: "asdf", MaxKeys: 1, ContinuationToken: page.NextContinuationToken });
    expect(keysOf(next)).toEqual(["boo/baz/x"]);
    expect(next).toMatchObject({ StartAfter: "asdf", ContinuationToken: page.NextContinuationToken });
  });

  test("takes an empty token for none, and echoes it", async () => {
    const answer = await send(zones, "GET", "/keys?continuation-token=&list-type=2&prefix=");
    const root = answer.xml("ListBucketResult");
    expect(root.all("Contents")).toHaveLength(KEYS.length);
    expect(root.textOf("ContinuationToken")).toBe("");
  });

  test("of no keys is empty and at its end", async () => {
    expect(await list({ MaxKeys: 0 })).toMatchObject({ KeyCount: 0, MaxKeys: 0, IsTruncated: false });
  });

  test("gives a thousand keys at most", async () => {
    expect(await list({ MaxKeys: 5000 })).toMatchObject({ MaxKeys: 1000 });
  });

  test.each([
    "max-keys=-1",
    "max-keys=x",
    "max-keys=1e3",
    "max-keys=99999999999",
    "continuation-token=no%20token",
    "encoding-type=utf",
    "prefix=a&prefix=b",
  ])("is InvalidArgument with %s", async (query) => {
    expect(await send(zones, "GET", `/keys?list-type=2&${query}`)).toMatchObject({
      status: 400,
      code: "InvalidArgument",
    });
  });

  test("writes keys percent-encoded with encoding-type=url, slashes and all else aside", async () => {
    const page = await send(
      zones,
      "GET",
      "/keys?list-type=2&encoding-type=url&prefix=a&delimiter=%2B&start-after=a%20",
    );
    const root = page.xml("ListBucketResult");
    expect(root.all("Contents").map((child) => child.textOf("Key"))).toEqual(["a%20b", "asdf"]);
    expect(root.get("CommonPrefixes")!.textOf("Prefix")).toBe("a%2B");
    expect([root.textOf("Delimiter"), root.textOf("StartAfter"), root.textOf("EncodingType")]).toEqual([
      "%2B",
      "a%20",
      "url",
    ]);
  });

  test("lists keys that XML can't carry", async () => {
    const key = "line\nbreak\u0001";
    await s3.send(new PutObjectCommand({ Bucket: "odd", Key: key, Body: "b" }));
    expect((await send(zones, "GET", "/odd?list-type=2")).text).toContain("<Key>line&#xa;break&#x1;</Key>");
    const { Contents } = await s3.send(new ListObjectsV2Command({ Bucket: "odd", EncodingType: "url" }));
    expect(decodeURIComponent(Contents![0]!.Key!)).toBe(key);
  });

  test("is NoSuchBucket where there is none, and AccessDenied where it is somebody else's", async () => {
    expect(await send(zones, "GET", "/missing?list-type=2")).toMatchObject({ status: 404, code: "NoSuchBucket" });
    expect(await send(zones, "GET", "/keys?list-type=2", { organization: "alt" })).toMatchObject({ status: 403 });
    expect(await send(zones, "GET", "/keys?list-type=2", { isSigned: false })).toMatchObject({ status: 403 });
  });
});

describe("ListObjects", () => {
  test("pages by marker, and gives NextMarker without a delimiter too", async () => {
    const first = await s3.send(new ListObjectsCommand({ Bucket: "keys", MaxKeys: 3 }));
    expect(first).toMatchObject({ IsTruncated: true, NextMarker: KEYS[2], Marker: "" });
    expect(first.Contents![0]!.Owner).toEqual({ ID: zones.organizations.main.id, DisplayName: "main" });
    const second = await s3.send(new ListObjectsCommand({ Bucket: "keys", Marker: first.NextMarker }));
    expect(keysOf(second)).toEqual(KEYS.slice(3));
    expect(second).toMatchObject({ IsTruncated: false, Marker: KEYS[2] });
    expect(second.NextMarker).toBeUndefined();
  });

  test("passes over a whole common prefix by its marker", async () => {
    const page = await s3.send(new ListObjectsCommand({ Bucket: "keys", Delimiter: "/", Marker: "boo/" }));
    expect(prefixesOf(page)).toEqual(["cquux/"]);
  });
});

describe("ListObjectVersions", () => {
  const list = (more = {}) => s3.send(new ListObjectVersionsCommand({ Bucket: "versions", ...more }));
  const ids: Record<string, string[]> = { a: [], b: [] };

  beforeAll(async () => {
    for (const Key of ["a", "b"]) {
      for (let i = 0; i < 3; i++) {
        const { VersionId } = await s3.send(new PutObjectCommand({ Bucket: "versions", Key, Body: String(i) }));
        ids[Key]!.unshift(VersionId!);
      }
    }
    const { VersionId } = await s3.send(new DeleteObjectCommand({ Bucket: "versions", Key: "b" }));
    ids.b!.unshift(VersionId!);
  });

  test("lists versions newest first, the current one marked, delete markers in their place", async () => {
    const { Versions, DeleteMarkers } = await list();
    expect(Versions!.map(({ Key, VersionId, IsLatest }) => [Key, VersionId, IsLatest])).toEqual([
      ...ids.a!.map((id, i) => ["a", id, i === 0]),
      ...ids.b!.slice(1).map((id) => ["b", id, false]),
    ]);
    expect(DeleteMarkers).toMatchObject([
      { Key: "b", VersionId: ids.b![0], IsLatest: true, Owner: { DisplayName: "main" } },
    ]);
    const root = (await send(zones, "GET", "/versions?versions&prefix=b")).xml("ListVersionsResult");
    expect(root.children.map(({ name }) => name).filter((name) => /Version$|DeleteMarker/.test(name))).toEqual([
      "DeleteMarker",
      "Version",
      "Version",
      "Version",
    ]);
  });

  test("pages within a key, by both markers", async () => {
    const seen: string[] = [];
    let markers: { KeyMarker?: string; VersionIdMarker?: string } = {};
    for (;;) {
      const page = await list({ MaxKeys: 2, ...markers });
      const entries = [...(page.Versions ?? []), ...(page.DeleteMarkers ?? [])];
      seen.push(
        ...entries
          .map(({ VersionId }) => VersionId!)
          .sort()
          .reverse(),
      );
      if (!page.IsTruncated) break;
      markers = { KeyMarker: page.NextKeyMarker, VersionIdMarker: page.NextVersionIdMarker };
    }
    expect(seen.sort()).toEqual([...ids.a!, ...ids.b!].sort());
  });

  test("begins with the next key behind a key marker alone", async () => {
    const { Versions } = await list({ KeyMarker: "a" });
    expect(Versions!.every(({ Key }) => Key === "b")).toBe(true);
  });

  test("is InvalidArgument with a version id marker that stands alone, or is none", async () => {
    for (const query of ["version-id-marker=null", "key-marker=a&version-id-marker=x"]) {
      expect(await send(zones, "GET", `/versions?versions&${query}`)).toMatchObject({
        status: 400,
        code: "InvalidArgument",
      });
    }
  });

  test("lists the object of a bucket that never had versioning as the version `null`", async () => {
    const { Versions } = await s3.send(new ListObjectVersionsCommand({ Bucket: "keys", MaxKeys: 1 }));
    expect(Versions).toMatchObject([{ VersionId: "null", IsLatest: true }]);
  });
});
