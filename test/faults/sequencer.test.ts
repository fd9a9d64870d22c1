import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  GetObjectTaggingCommand,
  PutObjectCommand,
  PutObjectTaggingCommand,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startZones, type Zones } from "../harness.ts";
import { allVersions, type Place, versionedBucket } from "../links.ts";
import { arm, ENTRY, expectStruck, report } from "./arming.ts";

let zones: Zones;
beforeAll(async () => {
  zones = await startZones({ entry: ENTRY });
});
afterAll(() => zones?.stop());

const LARGE = "x".repeat(20_000);

/** Ends the Durable Object at its next commit. */
async function endNext(how: "ends before" | "ends after"): Promise<void> {
  await arm(zones, "ch-dk-2", [{ at: "INDEX.batch", in: "sequencer", how, times: 1 }]);
}

const tagged = (value: string) => ({ TagSet: [{ Key: "value", Value: value }] });

describe.each(["ends before", "ends after", "lands late"] as const)(
  "a change of tags whose Durable Object's commit %s",
  (how) => {
    it.each(["of the current version", "by version id"])("is answered as done, once (%s)", async (which) => {
      const { client, bucket } = await versionedBucket(zones, "ch-dk-2");
      const object = { Bucket: bucket, Key: "k" };
      const { VersionId: id } = await client.send(new PutObjectCommand({ ...object, Body: "x" }));
      const VersionId = which === "by version id" ? id : undefined;
      await arm(zones, "ch-dk-2", [{ at: "INDEX.batch", in: "sequencer", how, times: 1 }]);
      await client.send(new PutObjectTaggingCommand({ ...object, VersionId, Tagging: tagged("1") }));
      await expectStruck(zones, "ch-dk-2", 1);
      const { TagSet } = await client.send(new GetObjectTaggingCommand(object));
      expect(TagSet).toEqual(tagged("1").TagSet);
      const index = await zones.d1("ch-dk-2");
      const of = "FROM versions WHERE bucket_id = (SELECT bucket_id FROM buckets WHERE name = ?1)";
      const row = await index.prepare(`SELECT json_array_length(tags_requests) AS n ${of}`).bind(bucket).first();
      expect(row).toEqual({ n: 1 });
    });
  },
);

it("a CompleteMultipartUpload that finds its parts gone, because a repeat of it came first, answers as that did", async () => {
  const { client, bucket } = await versionedBucket(zones, "ch-dk-2");
  const upload = { Bucket: bucket, Key: "k" };
  const { UploadId } = await client.send(new CreateMultipartUploadCommand(upload));
  const { ETag } = await client.send(new UploadPartCommand({ ...upload, UploadId, PartNumber: 1, Body: "part" }));
  const complete = { ...upload, UploadId, MultipartUpload: { Parts: [{ PartNumber: 1, ETag }] } };
  await arm(zones, "ch-dk-2", [{ at: "INDEX.all", naming: "FROM parts", how: "waits", times: 1 }]);
  const answers = await Promise.all([1, 2].map(() => client.send(new CompleteMultipartUploadCommand(complete))));
  await expectStruck(zones, "ch-dk-2", 1);
  expect(answers[0]!.VersionId).toBe(answers[1]!.VersionId);
});

describe.each(["fails before", "hangs"] as const)("reads that are put together, where that %s", (how) => {
  it("go to the database one by one, and each client sees its object", async () => {
    const { client, bucket } = await versionedBucket(zones, "ch-dk-2");
    const keys = Array.from({ length: 24 }, (_, i) => `k-${i}`);
    await Promise.all(keys.map((Key) => client.send(new PutObjectCommand({ Bucket: bucket, Key, Body: Key }))));
    await arm(zones, "ch-dk-2", [{ at: "SEQUENCER.find", how }]);
    const bodies = keys.map(async (Key) => {
      const { Body } = await client.send(new GetObjectCommand({ Bucket: bucket, Key }));
      return await Body!.transformToString();
    });
    expect(await Promise.all(bodies)).toEqual(keys);
    await expectStruck(zones, "ch-dk-2");
  });
});

describe.each(["ends before", "ends after"] as const)("a Durable Object that %s its commit", (how) => {
  it("loses no acknowledged write and doubles none", async () => {
    const { client, bucket } = await versionedBucket(zones, "ch-dk-2");
    const acknowledged = new Map<string, string>();
    let refused = 0;
    for (let round = 0; round < 10; round++) {
      await endNext(how);
      const puts = Array.from({ length: 20 }, async (_, i) => {
        const key = `k-${round}-${i}`;
        try {
          const answer = await client.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: key }));
          acknowledged.set(key, answer.VersionId!);
        } catch (error) {
          expect((error as { $metadata: { httpStatusCode: number } }).$metadata.httpStatusCode).toBe(503);
          refused++;
        }
      });
      await Promise.all(puts);
      await expectStruck(zones, "ch-dk-2", 1);
    }
    const versions = await allVersions({ client, bucket, zone: "ch-dk-2" });
    const found = new Map(versions.map((line) => line.split(" ") as [string, string]));
    expect(versions).toHaveLength(found.size);
    for (const [key, versionId] of acknowledged) expect(found.get(key)).toBe(versionId);
    expect(acknowledged.size + refused).toBe(200);
    // The commit is asked for again and recognised by its request, so the client hears nothing of the end.
    expect(refused).toBe(0);
  });

  it("lets one conditional write win still, and answers it", async () => {
    const { client, bucket } = await versionedBucket(zones, "ch-dk-2");
    await endNext(how);
    const answer = await client.send(new PutObjectCommand({ Bucket: bucket, Key: "k", Body: "x", IfNoneMatch: "*" }));
    await expectStruck(zones, "ch-dk-2", 1);
    expect(answer.VersionId).toBeDefined();
    expect(await allVersions({ client, bucket, zone: "ch-dk-2" })).toHaveLength(1);
  });

  it("makes one delete marker", async () => {
    const { client, bucket } = await versionedBucket(zones, "ch-dk-2");
    await endNext(how);
    await client.send(new DeleteObjectCommand({ Bucket: bucket, Key: "k" }));
    await expectStruck(zones, "ch-dk-2", 1);
    expect(await allVersions({ client, bucket, zone: "ch-dk-2" })).toHaveLength(1);
    await expect(client.send(new GetObjectCommand({ Bucket: bucket, Key: "k" }))).rejects.toThrow();
  });
});

describe("a commit that lands after its repeat has begun", () => {
  async function armed(): Promise<Place> {
    const place = await versionedBucket(zones, "ch-dk-2");
    await arm(zones, "ch-dk-2", [{ at: "INDEX.batch", in: "sequencer", how: "lands late", times: 1 }]);
    return place;
  }

  async function expectLanded(): Promise<void> {
    expect(await report(zones, "ch-dk-2")).toEqual({ strokes: [1], journal: ["landed late"] });
  }

  it("of a PUT makes one version", async () => {
    const place = await armed();
    const { VersionId } = await place.client.send(
      new PutObjectCommand({ Bucket: place.bucket, Key: "k", Body: LARGE }),
    );
    await expectLanded();
    expect(await allVersions(place)).toEqual([expect.stringContaining(VersionId!)]);
  });

  it("of a PUT doesn't come back once its version was removed by id", async () => {
    const place = await versionedBucket(zones, "ch-dk-2");
    // Behind the repeat and its removal.
    const fault = { at: "INDEX.batch", in: "sequencer", how: "lands late", times: 1, behind: 2 } as const;
    await arm(zones, "ch-dk-2", [fault]);
    const object = { Bucket: place.bucket, Key: "k" };
    const { VersionId } = await place.client.send(new PutObjectCommand({ ...object, Body: "x" }));
    await place.client.send(new DeleteObjectCommand({ ...object, VersionId }));
    await place.client.send(new PutObjectCommand({ ...object, Key: "other", Body: "x" }));
    await expectLanded();
    expect(await allVersions(place)).toEqual([expect.stringMatching(/^other /)]);
  });

  it("of a DELETE makes one delete marker", async () => {
    const place = await armed();
    await place.client.send(new DeleteObjectCommand({ Bucket: place.bucket, Key: "k" }));
    await expectLanded();
    expect(await allVersions(place)).toHaveLength(1);
  });

  it("of a conditional PUT is answered as the success that it was, and keeps its body", async () => {
    const place = await armed();
    const put = new PutObjectCommand({ Bucket: place.bucket, Key: "k", Body: LARGE, IfNoneMatch: "*" });
    await place.client.send(put);
    await expectLanded();
    const got = await place.client.send(new GetObjectCommand({ Bucket: place.bucket, Key: "k" }));
    expect(await got.Body!.transformToString()).toBe(LARGE);
  });
});
