import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  PutObjectTaggingCommand,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { startZones, until, type Zones } from "../harness.ts";
import { allVersions, link, type Place, statusOf, versionedBucket } from "../links.ts";
import type { Fault } from "./armed.ts";
import { arm, completions, ENTRY, expectStruck, seen } from "./arming.ts";

const ZONE = "ch-dk-2";
const CLIENTS = 64;
const TWINS: Fault[] = [{ at: "SEQUENCER.getByName", how: "alternates" }];

let zones: Zones;
let place: Place;
beforeAll(async () => {
  zones = await startZones({ entry: ENTRY });
});
afterAll(() => zones?.stop());
beforeEach(async () => {
  place = await versionedBucket(zones, ZONE);
  await arm(zones, ZONE, TWINS);
});
// Each test has led something to the second instance.
afterEach(() => expectStruck(zones, ZONE));

const put = (Body: string, options: object = {}, Key = "k") =>
  place.client.send(new PutObjectCommand({ Bucket: place.bucket, Key, Body, ...options }));
const all = <T>(work: (i: number) => Promise<T>) => Promise.all(Array.from({ length: CLIENTS }, (_, i) => work(i)));

/** How often each thing was seen. */
function count(seen: string[]): Record<string, number> {
  return Object.fromEntries([...Map.groupBy(seen, (each) => each)].map(([each, same]) => [each, same.length]));
}

async function body(): Promise<string> {
  const { Body } = await place.client.send(new GetObjectCommand({ Bucket: place.bucket, Key: "k" }));
  return await Body!.transformToString();
}

describe("two instances of one Sequencer at once", () => {
  it("let exactly one of 64 PUTs with If-None-Match win: its client sees 200, the others 412 PreconditionFailed", async () => {
    const answers = await all((i) => seen(put(`${i}`, { IfNoneMatch: "*" })));
    expect(count(answers)).toEqual({ "200": 1, "412 PreconditionFailed": CLIENTS - 1 });
    expect(await allVersions(place)).toHaveLength(1);
    expect(await body()).toBe(`${answers.indexOf("200")}`);
  });

  it("take 64 changes of tags beside PUTs of the key: all see 200, and each version has the tags of one change, whole", async () => {
    await put("first");
    const answers = await all(async (i) => {
      if (i % 4 === 0) return await seen(put(`${i}`));
      const tags = ["a", "b"].map((Key) => ({ Key, Value: `${i}` }));
      const request = { Bucket: place.bucket, Key: "k", Tagging: { TagSet: tags } };
      return await seen(place.client.send(new PutObjectTaggingCommand(request)));
    });
    expect(count(answers)).toEqual({ "200": CLIENTS });
    const index = await zones.d1(ZONE);
    const of = "FROM versions WHERE bucket_id = (SELECT bucket_id FROM buckets WHERE name = ?1)";
    const { results } = await index.prepare(`SELECT tags, tags_requests ${of}`).bind(place.bucket).all();
    for (const { tags } of results) {
      const values = Object.values(JSON.parse(tags as string));
      expect(new Set(values).size).toBeLessThanOrEqual(1);
    }
    const requests = results.flatMap(({ tags_requests }) => JSON.parse((tags_requests as string) ?? "[]"));
    expect(new Set(requests).size).toBe(requests.length);
  });

  it("let exactly one of 64 PUTs with If-Match win", async () => {
    const { ETag } = await put("first");
    const answers = await all((i) => seen(put(`${i}`, { IfMatch: ETag })));
    expect(count(answers)).toEqual({ "200": 1, "412 PreconditionFailed": CLIENTS - 1 });
    expect(await allVersions(place)).toHaveLength(2);
    expect(await body()).toBe(`${answers.indexOf("200")}`);
  });

  it("take 64 PUTs of one key, each client sees 200 and a version id of its own, and the greatest is the object", async () => {
    const answers = await all((i) => put(`${i}`));
    const ids = answers.map(({ VersionId }) => VersionId!);
    expect(new Set(ids).size).toBe(CLIENTS);
    expect(await allVersions(place)).toHaveLength(CLIENTS);
    expect(await body()).toBe(`${ids.indexOf([...ids].sort().at(-1)!)}`);
  });

  it("give ids that increase: a PUT made after another was answered is newer, whichever of them took it", async () => {
    const ids: string[] = [];
    for (let i = 0; i < 12; i++) ids.push((await put(`${i}`)).VersionId!);
    expect(ids).toEqual([...ids].sort());
    expect(await body()).toBe("11");
  });

  it("give ids that increase also where one has given ids of a clock that was 5 minutes ahead: the client's last PUT is the object", async () => {
    await arm(zones, ZONE, TWINS, 5 * 60_000);
    const ids = [(await put("ahead")).VersionId!];
    await arm(zones, ZONE, TWINS);
    for (const each of ["1", "2", "3"]) ids.push((await put(each)).VersionId!);
    expect(ids).toEqual([...ids].sort());
    expect(await body()).toBe("3");
  });

  it("keep at most one null version of a key, whatever 64 clients PUT, and each sees 200", async () => {
    const VersioningConfiguration = { Status: "Suspended" } as const;
    await place.client.send(new PutBucketVersioningCommand({ Bucket: place.bucket, VersioningConfiguration }));
    const answers = await all((i) => seen(put(`${i}`, { Body: "x".repeat(9000 + i) })));
    expect(count(answers)).toEqual({ "200": CLIENTS });
    expect(await allVersions(place)).toEqual([expect.stringMatching(/^k null .* latest$/)]);
    expect((await body()).length).toBeGreaterThanOrEqual(9000);
    const index = await zones.d1(ZONE);
    const counted = await index
      .prepare("SELECT count(*) AS n FROM segments JOIN buckets USING (bucket_id) WHERE name = ?")
      .bind(place.bucket)
      .first("n");
    expect(counted).toBe(1);
  });

  it("complete a multipart upload once: each client that asks at once sees 200 and the same version", async () => {
    const upload = { Bucket: place.bucket, Key: "k" };
    const { UploadId } = await place.client.send(new CreateMultipartUploadCommand(upload));
    const part = new UploadPartCommand({ ...upload, UploadId, PartNumber: 1, Body: "part" });
    const { ETag } = await place.client.send(part);
    const complete = { ...upload, UploadId, MultipartUpload: { Parts: [{ PartNumber: 1, ETag }] } };
    // All have seen the upload open, and read its parts, before the first of them commits.
    const gathering: Fault = { at: "INDEX.all", naming: "FROM parts", how: "gathers", times: 8 };
    await arm(zones, ZONE, [...TWINS, gathering]);
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => place.client.send(new CompleteMultipartUploadCommand(complete))),
    );
    await expectStruck(zones, ZONE, 4, 8);
    expect(new Set(answers.map(({ VersionId }) => VersionId)).size).toBe(1);
    expect(await allVersions(place)).toHaveLength(1);
    expect(await body()).toBe("part");
  });

  it("make a delete marker for each of 64 DELETEs, and remove a version by its id once", async () => {
    const { VersionId } = await put("x");
    const remove = { Bucket: place.bucket, Key: "k" };
    await all(() => place.client.send(new DeleteObjectCommand(remove)));
    const answers = await all(() => seen(place.client.send(new DeleteObjectCommand({ ...remove, VersionId }))));
    expect(count(answers)).toEqual({ "204": CLIENTS });
    const versions = await allVersions(place);
    expect(versions).toHaveLength(CLIENTS);
    for (const version of versions) expect(version).toContain("marker");
  });

  it("drain one link twice at once: the client sees COMPLETED, and each version is counted once and there once", async () => {
    const destination = await versionedBucket(zones, "at-vie-1");
    await link(zones, place, destination);
    await arm(zones, ZONE, [...TWINS, { at: "QUEUE.consume", how: "is doubled" }]);
    await all((i) => put(`${i}`, {}, `k-${i}`));
    await until(async () => (await completions(zones, place, destination)) === CLIENTS);
    expect(await statusOf(place, "k-63")).toBe("COMPLETED");
    expect(await allVersions(destination)).toEqual(await allVersions(place));
  });
});
