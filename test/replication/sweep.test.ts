import { DeleteBucketCommand, DeleteObjectCommand, HeadBucketCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, expect, it } from "vitest";
import { arm, ENTRY } from "../faults/arming.ts";
import { startZones, until, type Zones } from "../harness.ts";
import { link, statusOf, versionedBucket } from "../links.ts";

let zones: Zones;
beforeAll(async () => {
  zones = await startZones({ entry: ENTRY });
});
afterAll(() => zones?.stop());

const LONG_AGO = Date.now() - 3600_000;
const directory = () => zones.d1("ch-dk-2", "CONTROL");

it("finishes a bucket whose creation a crash left half way", async () => {
  const { id } = zones.organizations.main;
  await (await directory())
    .prepare(
      `INSERT INTO buckets (name, organization_id, zone, state, slots, created_at, state_changed_at)
       VALUES ('half-made', ?1, 'ch-dk-2', 'creating', 1, ?2, ?2)`,
    )
    .bind(id, LONG_AGO)
    .run();
  const client = zones.s3("at-vie-1");
  await expect(client.send(new HeadBucketCommand({ Bucket: "half-made" }))).rejects.toThrow();
  await zones.runScheduled("ch-dk-2");
  await client.send(new HeadBucketCommand({ Bucket: "half-made" }));
  await client.send(new PutObjectCommand({ Bucket: "half-made", Key: "k", Body: "x" }));
});

it("gives back a bucket whose deletion a crash left half way, if something is in it, and else removes it", async () => {
  const [full, empty] = [await versionedBucket(zones, "ch-dk-2"), await versionedBucket(zones, "ch-dk-2")];
  await full.client.send(new PutObjectCommand({ Bucket: full.bucket, Key: "k", Body: "x" }));
  const control = await directory();
  await control
    .prepare("UPDATE buckets SET state = 'deleting', state_changed_at = ?1 WHERE name IN (?2, ?3)")
    .bind(LONG_AGO, full.bucket, empty.bucket)
    .run();
  await zones.runScheduled("ch-dk-2");
  const { results } = await control
    .prepare("SELECT name, state FROM buckets WHERE name IN (?1, ?2)")
    .bind(full.bucket, empty.bucket)
    .all();
  expect(results).toEqual([{ name: full.bucket, state: "active" }]);
  await full.client.send(new PutObjectCommand({ Bucket: full.bucket, Key: "k", Body: "y" }));
});

/** A source whose object `k` has been replicated. */
async function replicated() {
  const source = await versionedBucket(zones, "ch-dk-2");
  const destination = await versionedBucket(zones, "at-vie-1");
  await link(zones, source, destination);
  const { VersionId } = await source.client.send(new PutObjectCommand({ Bucket: source.bucket, Key: "k", Body: "x" }));
  await until(async () => (await statusOf(source, "k")) === "COMPLETED");
  return { source, VersionId };
}

it("clears what a deleted bucket left behind, its links and their rows too", async () => {
  const { source, VersionId } = await replicated();
  const index = await zones.d1("ch-dk-2");
  const row = await index
    .prepare("SELECT bucket_id FROM buckets WHERE name = ?1")
    .bind(source.bucket)
    .first<{ bucket_id: number }>();
  await source.client.send(new DeleteObjectCommand({ Bucket: source.bucket, Key: "k", VersionId }));
  await source.client.send(new DeleteBucketCommand({ Bucket: source.bucket }));
  await zones.runScheduled("ch-dk-2");
  for (const table of ["versions", "removed", "links", "uploads", "parts", "jobs"]) {
    const left = await index
      .prepare(`SELECT count(*) AS n FROM ${table} WHERE bucket_id = ?1`)
      .bind(row!.bucket_id)
      .first();
    expect([table, left]).toEqual([table, { n: 0 }]);
  }
});

it("wakes what is due although its message got lost", async () => {
  const { source, VersionId } = await replicated();
  const index = await zones.d1("ch-dk-2");
  const [linkId] = JSON.parse(
    (await index
      .prepare("SELECT bound FROM versions WHERE version_id = ?1")
      .bind(VersionId!)
      .first<{ bound: string }>())!.bound,
  );
  await index
    .prepare("INSERT INTO outbox (link_id, slot, version_id, key, change) VALUES (?1, 0, ?2, 'k', ?2)")
    .bind(linkId, VersionId!)
    .run();
  expect(await statusOf(source, "k")).toBe("PENDING");
  await zones.runScheduled("ch-dk-2");
  await until(async () => (await statusOf(source, "k")) === "COMPLETED");
});

it("sums what is old of a link's minutes when an hour begins", async () => {
  const index = await zones.d1("ch-dk-2");
  const now = Math.floor(Date.now() / 60_000);
  const rows = [now - 24 * 60, now - 24 * 60 + 1, now - 30].map((minute) => ({ minute }));
  await index
    .prepare(
      `INSERT INTO link_minutes (link_id, minute, count, bytes, lag)
       SELECT 4711, value ->> 'minute', 1, 10, '{"2":1}' FROM json_each(?1)`,
    )
    .bind(JSON.stringify(rows))
    .run();
  const hour = 3600_000;
  const next = Math.ceil(Date.now() / hour) * hour;
  await arm(zones, "ch-dk-2", [], next + 1000 - Date.now());
  await zones.runScheduled("ch-dk-2");
  await arm(zones, "ch-dk-2", []);
  const sums = await index
    .prepare(
      "SELECT minute % 60 = 0 AS isHour, sum(count) AS count, sum(bytes) AS bytes FROM link_minutes WHERE link_id = 4711 AND minute < ?1 GROUP BY 1",
    )
    .bind(now - 60)
    .all();
  expect(sums.results).toEqual([{ isHour: 1, count: 2, bytes: 20 }]);
});
