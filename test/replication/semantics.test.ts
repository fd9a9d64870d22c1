import {
  CompleteMultipartUploadCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteBucketCommand,
  DeleteBucketReplicationCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectVersionsCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startZones, until, type Zones } from "../harness.ts";
import {
  allVersions,
  link,
  makeRole,
  type Place,
  putReplication,
  ruleTo,
  seedPolicy,
  statusOf,
  versionedBucket,
} from "../links.ts";
import { send } from "../s3/raw.ts";

let zones: Zones;
beforeAll(async () => {
  zones = await startZones();
});
afterAll(() => zones?.stop());

const put = async ({ client, bucket }: Place, key: string, body: string | Uint8Array = key) =>
  await client.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: body }));

async function pair(): Promise<[Place, Place]> {
  const leader = await versionedBucket(zones, "ch-dk-2");
  const follower = await versionedBucket(zones, "at-vie-1");
  await link(zones, leader, follower);
  return [leader, follower];
}

/** Rows that are still to travel, or stuck, in a zone. */
async function pending(zone: string): Promise<number> {
  const index = await zones.d1(zone);
  const row = await index
    .prepare("SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM failed) AS n")
    .first<{ n: number }>();
  return row!.n;
}

describe("a replica", () => {
  it("has the version id, Last-Modified, ETag, headers and metadata of its source, and is a REPLICA", async () => {
    const [leader, follower] = await pair();
    const { VersionId } = await leader.client.send(
      new PutObjectCommand({
        Bucket: leader.bucket,
        Key: "ä/../odd key//",
        Body: "body",
        ContentType: "text/x-test",
        CacheControl: "max-age=5",
        ContentDisposition: "attachment",
        Metadata: { color: "blue" },
      }),
    );
    await until(async () => (await statusOf(leader, "ä/../odd key//")) === "COMPLETED");
    const head = async ({ client, bucket }: Place) => {
      const answer = await client.send(
        new HeadObjectCommand({ Bucket: bucket, Key: "ä/../odd key//", ChecksumMode: "ENABLED" }),
      );
      const { $metadata, ReplicationStatus, ...rest } = answer;
      return [ReplicationStatus, rest];
    };
    const [source, sourceFacts] = await head(leader);
    const [replica, replicaFacts] = await head(follower);
    expect([source, replica]).toEqual(["COMPLETED", "REPLICA"]);
    expect(replicaFacts).toEqual(sourceFacts);
    expect(replicaFacts).toMatchObject({ VersionId, ContentType: "text/x-test", Metadata: { color: "blue" } });
  });

  it("of a zero-byte object and of a large one has the same bytes", async () => {
    const [leader, follower] = await pair();
    const large = Buffer.alloc(9_000_000, "0123456789");
    await put(leader, "empty", new Uint8Array());
    await put(leader, "large", large);
    await until(
      async () =>
        (await statusOf(leader, "large")) === "COMPLETED" && (await statusOf(leader, "empty")) === "COMPLETED",
    );
    const get = async (key: string) => {
      const answer = await follower.client.send(new GetObjectCommand({ Bucket: follower.bucket, Key: key }));
      return Buffer.from(await answer.Body!.transformToByteArray());
    };
    expect((await get("empty")).length).toBe(0);
    expect((await get("large")).equals(large)).toBe(true);
  });
});

it("a multipart object whose last part is empty replicates with its parts", async () => {
  const [leader, follower] = await pair();
  const { client, bucket } = leader;
  const place = { Bucket: bucket, Key: "k" };
  const { UploadId } = await client.send(new CreateMultipartUploadCommand(place));
  const Parts = [];
  for (const [i, size] of [5 * 1024 * 1024, 0].entries()) {
    const part = { ...place, UploadId, PartNumber: i + 1, Body: Buffer.alloc(size, "a") };
    Parts.push({ PartNumber: i + 1, ETag: (await client.send(new UploadPartCommand(part))).ETag });
  }
  await client.send(new CompleteMultipartUploadCommand({ ...place, UploadId, MultipartUpload: { Parts } }));
  await until(async () => (await statusOf(leader, "k")) === "COMPLETED");
  for (const { client, bucket } of [leader, follower]) {
    const whole = await client.send(new GetObjectCommand({ Bucket: bucket, Key: "k" }));
    expect((await whole.Body!.transformToByteArray()).length).toBe(5 * 1024 * 1024);
    const last = await client.send(new GetObjectCommand({ Bucket: bucket, Key: "k", PartNumber: 2 }));
    expect([last.PartsCount, (await last.Body!.transformToByteArray()).length]).toEqual([2, 0]);
  }
});

it("a bucket of several slots lists its keys in order and replicates them all", async () => {
  const source = { client: zones.s3("ch-dk-2"), bucket: "slotted-bucket", zone: "ch-dk-2" };
  await send(zones, "PUT", "/slotted-bucket", { headers: { "x-zonal-slots": "4" } });
  const enabled = { Bucket: source.bucket, VersioningConfiguration: { Status: "Enabled" as const } };
  await source.client.send(new PutBucketVersioningCommand(enabled));
  const destination = await versionedBucket(zones, "at-vie-1");
  await link(zones, source, destination);
  const keys = Array.from({ length: 60 }, (_, i) => `k-${String(i).padStart(2, "0")}`);
  await Promise.all(keys.map((key) => put(source, key)));
  await until(async () => (await allVersions(destination)).length === 60);
  expect(await allVersions(destination)).toEqual(await allVersions(source));
  expect((await allVersions(source)).map((line) => line.split(" ")[0])).toEqual(keys);
  for (const key of keys) await until(async () => (await statusOf(source, key)) === "COMPLETED");
});

describe("deletes", () => {
  it("in the leader make a delete marker in the follower", async () => {
    const [leader, follower] = await pair();
    await put(leader, "k");
    const { VersionId, DeleteMarker } = await leader.client.send(
      new DeleteObjectCommand({ Bucket: leader.bucket, Key: "k" }),
    );
    expect(DeleteMarker).toBe(true);
    await until(async () => (await allVersions(follower)).some((line) => line === `k ${VersionId} marker latest`));
    expect(await allVersions(follower)).toEqual(await allVersions(leader));
  });

  it("by version id in the leader leave the follower's version", async () => {
    const [leader, follower] = await pair();
    const { VersionId } = await put(leader, "k");
    await until(async () => (await statusOf(leader, "k")) === "COMPLETED");
    await leader.client.send(new DeleteObjectCommand({ Bucket: leader.bucket, Key: "k", VersionId }));
    await put(leader, "after");
    await until(async () => (await statusOf(leader, "after")) === "COMPLETED");
    expect(await allVersions(leader)).toHaveLength(1);
    expect(await allVersions(follower)).toHaveLength(2);
  });

  it("by version id are for good: no replication, repeated message or restart raises what was removed", async () => {
    const a = await versionedBucket(zones, "ch-dk-2");
    const b = await versionedBucket(zones, "at-vie-1");
    await link(zones, a, b);
    await link(zones, b, a);
    const { VersionId } = await put(a, "k");
    await until(async () => (await statusOf(a, "k")) === "COMPLETED");
    await b.client.send(new DeleteObjectCommand({ Bucket: b.bucket, Key: "k", VersionId }));
    // The row is put back into the outbox as if its receipt had been lost, and the message repeated.
    const index = await zones.d1("ch-dk-2");
    const slot = await index
      .prepare("SELECT bound FROM versions WHERE version_id = ?1")
      .bind(VersionId!)
      .first<{ bound: string }>();
    const [linkId] = JSON.parse(slot!.bound);
    await index
      .prepare("INSERT INTO outbox (link_id, slot, version_id, key, change) VALUES (?1, 0, ?2, 'k', ?2)")
      .bind(linkId, VersionId!)
      .run();
    await zones.runScheduled("ch-dk-2");
    await until(async () => (await statusOf(a, "k")) === "FAILED");
    const failed = await index.prepare("SELECT reason FROM failed WHERE link_id = ?1").bind(linkId).first();
    expect(failed).toEqual({ reason: "DstObjectHardDeleted" });
    await zones.restart();
    for (const zone of ["ch-dk-2", "at-vie-1"]) await zones.runScheduled(zone);
    await put(a, "after");
    await until(async () => (await statusOf(a, "after")) === "COMPLETED");
    expect(await allVersions(b)).toEqual([expect.stringContaining("after")]);
    await (await zones.d1("ch-dk-2")).prepare("DELETE FROM failed").run();
  });
});

describe("two-way replication", () => {
  it("of 200 keys written at both ends at once, 50 of them the same, ends equal, applies nothing twice, and goes quiet", async () => {
    const a = await versionedBucket(zones, "ch-dk-2");
    const b = await versionedBucket(zones, "at-vie-1");
    await link(zones, a, b);
    await link(zones, b, a);
    const writes = Array.from({ length: 200 }, (_, i) => [
      put(a, i < 50 ? `both-${i}` : `a-${i}`, `from a ${i}`),
      put(b, i < 50 ? `both-${i}` : `b-${i}`, `from b ${i}`),
    ]);
    await Promise.all(writes.flat());
    await until(async () => (await pending("ch-dk-2")) + (await pending("at-vie-1")) === 0, { deadline: 30_000 });
    const [inA, inB] = [await allVersions(a), await allVersions(b)];
    expect(inA).toHaveLength(400);
    expect(inB).toEqual(inA);
    const digests = await Promise.all(
      [
        ["ch-dk-2", a],
        ["at-vie-1", b],
      ].map(async ([zone, place]) => {
        const index = await zones.d1(zone as string);
        return await index
          .prepare(
            `SELECT count(*) AS n, sum(digest) AS digest FROM versions
             WHERE bucket_id = (SELECT bucket_id FROM buckets WHERE name = ?1)`,
          )
          .bind((place as Place).bucket)
          .first();
      }),
    );
    expect(digests[0]).toEqual(digests[1]);
    // Quiet: nothing bound travels on from where it arrived, so a sweep finds nothing to do.
    for (const zone of ["ch-dk-2", "at-vie-1"]) await zones.runScheduled(zone);
    expect((await pending("ch-dk-2")) + (await pending("at-vie-1"))).toBe(0);
    expect(await allVersions(a)).toEqual(inA);
  }, 60_000);
});

describe("rules", () => {
  it("decide by prefix, tag, status and priority which versions travel and where to", async () => {
    const source = await versionedBucket(zones, "ch-dk-2");
    const [one, two] = [await versionedBucket(zones, "at-vie-1"), await versionedBucket(zones, "ch-dk-2")];
    const role = await makeRole(zones, undefined);
    await putReplication(source, role, [
      ruleTo(one.bucket, { ID: "logs", Filter: { Prefix: "logs/" }, Priority: 2 }),
      ruleTo(one.bucket, {
        ID: "red",
        Priority: 1,
        Filter: { Tag: { Key: "color", Value: "red" } },
        DeleteMarkerReplication: { Status: "Disabled" },
      }),
      ruleTo(two.bucket, { ID: "all", Priority: 1 }),
      ruleTo(one.bucket, { ID: "off", Priority: 9, Status: "Disabled" }),
    ]);
    await put(source, "logs/1");
    await put(source, "other");
    await source.client.send(
      new PutObjectCommand({ Bucket: source.bucket, Key: "red", Body: "x", Tagging: "color=red" }),
    );
    await until(async () => (await pending("ch-dk-2")) === 0);
    const keys = async (place: Place) => (await allVersions(place)).map((line) => line.split(" ")[0]);
    expect(await keys(one)).toEqual(["logs/1", "red"]);
    expect(await keys(two)).toEqual(["logs/1", "other", "red"]);
    expect(await statusOf(source, "other")).toBe("COMPLETED");
  });

  it("don't reach versions from before them, and what is replicated doesn't travel on", async () => {
    const a = await versionedBucket(zones, "ch-dk-2");
    const b = await versionedBucket(zones, "at-vie-1");
    const c = await versionedBucket(zones, "ch-dk-2");
    await put(a, "before");
    await link(zones, a, b);
    await link(zones, b, c);
    await put(a, "after");
    await until(async () => (await statusOf(a, "after")) === "COMPLETED");
    expect(await statusOf(a, "before")).toBeUndefined();
    expect(await allVersions(b)).toHaveLength(1);
    expect(await allVersions(c)).toHaveLength(0);
  });
});

describe("what a person must mend", () => {
  it("a role without put-object at the destination is FAILED with DstPutObjectNotPermitted, and COMPLETED once mended", async () => {
    const source = await versionedBucket(zones, "ch-dk-2");
    const destination = await versionedBucket(zones, "at-vie-1");
    const role = await makeRole(zones, seedPolicy(source.bucket, "another-bucket"));
    await putReplication(source, role, [ruleTo(destination.bucket)]);
    const { VersionId } = await put(source, "k");
    await until(async () => (await statusOf(source, "k")) === "FAILED");
    const index = await zones.d1("ch-dk-2");
    const row = await index.prepare("SELECT reason FROM failed WHERE version_id = ?1").bind(VersionId!).first();
    expect(row).toEqual({ reason: "DstPutObjectNotPermitted" });
    const head = await send(zones, "HEAD", `/${source.bucket}/k`);
    expect(head.headers["x-zonal-replication-failure"]).toBe("DstPutObjectNotPermitted");
    await zones.runScheduled("ch-dk-2");
    expect(await statusOf(source, "k")).toBe("FAILED");
    const mended = await zones.control(
      "PUT",
      `/iam-role/${role}:policy`,
      seedPolicy(source.bucket, destination.bucket),
    );
    expect(mended.status).toBe(200);
    await until(async () => {
      await zones.runScheduled("ch-dk-2");
      return (await statusOf(source, "k")) === "COMPLETED";
    });
    expect(await statusOf(destination, "k")).toBe("REPLICA");
  });

  it("a role that a replication configuration passes on can't be deleted, with the bucket named", async () => {
    const source = await versionedBucket(zones, "ch-dk-2");
    const destination = await versionedBucket(zones, "at-vie-1");
    const role = await link(zones, source, destination);
    const refused = await zones.control<{ message: string }>("DELETE", `/iam-role/${role}`);
    expect([refused.status, refused.body.message]).toEqual([409, expect.stringContaining(source.bucket)]);
    await source.client.send(new DeleteBucketReplicationCommand({ Bucket: source.bucket }));
    expect((await zones.control("DELETE", `/iam-role/${role}`)).status).toBe(200);
  });

  it("a destination whose versioning was suspended is DstBucketUnversioned, and COMPLETED once enabled again", async () => {
    const [leader, follower] = await pair();
    const setVersioning = (Status: "Enabled" | "Suspended") =>
      follower.client.send(
        new PutBucketVersioningCommand({ Bucket: follower.bucket, VersioningConfiguration: { Status } }),
      );
    await setVersioning("Suspended");
    const { VersionId } = await put(leader, "k");
    await until(async () => (await statusOf(leader, "k")) === "FAILED");
    const index = await zones.d1("ch-dk-2");
    const row = await index.prepare("SELECT reason FROM failed WHERE version_id = ?1").bind(VersionId!).first();
    expect(row).toEqual({ reason: "DstBucketUnversioned" });
    await setVersioning("Enabled");
    await until(async () => {
      await zones.runScheduled("ch-dk-2");
      return (await statusOf(leader, "k")) === "COMPLETED";
    });
  });
});

describe("a bucket that was deleted", () => {
  it("and created again by another organization under the same name receives nothing that was pending", async () => {
    const [leader, follower] = await pair();
    await put(leader, "first");
    await until(async () => (await statusOf(leader, "first")) === "COMPLETED");
    const list = await follower.client.send(new ListObjectVersionsCommand({ Bucket: follower.bucket }));
    for (const { Key, VersionId } of list.Versions!) {
      await follower.client.send(new DeleteObjectCommand({ Bucket: follower.bucket, Key, VersionId }));
    }
    await follower.client.send(new DeleteBucketCommand({ Bucket: follower.bucket }));
    const other = zones.s3("at-vie-1", "alt");
    await other.send(new CreateBucketCommand({ Bucket: follower.bucket }));
    await other.send(
      new PutBucketVersioningCommand({ Bucket: follower.bucket, VersioningConfiguration: { Status: "Enabled" } }),
    );
    await put(leader, "second");
    await until(async () => (await statusOf(leader, "second")) === "FAILED");
    const index = await zones.d1("ch-dk-2");
    const row = await index.prepare("SELECT reason FROM failed WHERE key = 'second'").first();
    expect(row).toEqual({ reason: "DstBucketNotFound" });
    for (let i = 0; i < 3; i++) await zones.runScheduled("ch-dk-2");
    expect(await allVersions({ client: other, bucket: follower.bucket, zone: "at-vie-1" })).toEqual([]);
    expect(await statusOf(leader, "second")).toBe("FAILED");
  });
});
