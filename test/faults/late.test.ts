import { DeleteObjectCommand, GetObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startZones, type Zones } from "../harness.ts";
import { allVersions, type Place, versionedBucket } from "../links.ts";

let zones: Zones;
beforeAll(async () => {
  zones = await startZones({ entry: "test/faults/late.ts" });
});
afterAll(() => zones?.stop());

const door = () => `${zones.endpoint("ch-dk-2")}/-/late`;

async function armed(): Promise<Place> {
  const place = await versionedBucket(zones, "ch-dk-2");
  await fetch(door(), { method: "POST" });
  return place;
}

/** A fault that never struck proves nothing. */
async function expectLanded(): Promise<void> {
  expect(await (await fetch(door())).json()).toBe(1);
}

const LARGE = "x".repeat(20_000);

describe("a commit that lands after its repeat has begun", () => {
  it("of a PUT makes one version", async () => {
    const place = await armed();
    const { VersionId } = await place.client.send(
      new PutObjectCommand({ Bucket: place.bucket, Key: "k", Body: LARGE }),
    );
    await expectLanded();
    expect(await allVersions(place)).toEqual([expect.stringContaining(VersionId!)]);
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
