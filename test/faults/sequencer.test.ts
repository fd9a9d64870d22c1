import { DeleteObjectCommand, GetObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startZones, type Zones } from "../harness.ts";
import { allVersions, versionedBucket } from "../links.ts";

let zones: Zones;
beforeAll(async () => {
  zones = await startZones({ entry: "test/faults/aborting.ts" });
});
afterAll(() => zones?.stop());

const door = () => `${zones.endpoint("ch-dk-2")}/-/abort`;

async function arm(when: string): Promise<void> {
  await fetch(`${door()}?when=${when}&count=1`, { method: "POST" });
}

/** A fault that never struck proves nothing. */
async function expectStruck(): Promise<void> {
  expect(await (await fetch(door())).json()).toEqual({ left: 0 });
}

describe.each(["before", "after"])("a Durable Object that ends %s its commit", (when) => {
  it("loses no acknowledged write and doubles none", async () => {
    const { client, bucket } = await versionedBucket(zones, "ch-dk-2");
    const acknowledged = new Map<string, string>();
    let refused = 0;
    for (let round = 0; round < 10; round++) {
      await arm(when);
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
      await expectStruck();
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
    await arm(when);
    const answer = await client.send(new PutObjectCommand({ Bucket: bucket, Key: "k", Body: "x", IfNoneMatch: "*" }));
    await expectStruck();
    expect(answer.VersionId).toBeDefined();
    expect(await allVersions({ client, bucket, zone: "ch-dk-2" })).toHaveLength(1);
  });

  it("makes one delete marker", async () => {
    const { client, bucket } = await versionedBucket(zones, "ch-dk-2");
    await arm(when);
    await client.send(new DeleteObjectCommand({ Bucket: bucket, Key: "k" }));
    await expectStruck();
    expect(await allVersions({ client, bucket, zone: "ch-dk-2" })).toHaveLength(1);
    await expect(client.send(new GetObjectCommand({ Bucket: bucket, Key: "k" }))).rejects.toThrow();
  });
});
