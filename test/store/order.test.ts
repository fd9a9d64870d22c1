import { CreateBucketCommand, GetObjectCommand, HeadObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, expect, it } from "vitest";
import { startZones, until, type Zones } from "../harness.ts";
import { allVersions, makeRole, putReplication, ruleTo, versionedBucket } from "../links.ts";

let zones: Zones;
beforeAll(async () => {
  zones = await startZones();
});
afterAll(() => zones?.stop());

it("64 PUTs of one key at once with If-None-Match: * let exactly one win", async () => {
  const { bucket } = await versionedBucket(zones, "ch-dk-2");
  const clients = ["ch-dk-2", "at-vie-1"].map((zone) => zones.s3(zone));
  const puts = Array.from({ length: 64 }, (_, i) =>
    clients[i % 2]!.send(new PutObjectCommand({ Bucket: bucket, Key: "k", Body: `${i}`, IfNoneMatch: "*" })).then(
      () => "won",
      (error) => error.name,
    ),
  );
  const results = await Promise.all(puts);
  expect(results.filter((result) => result === "won")).toHaveLength(1);
  expect(results.filter((result) => result === "PreconditionFailed")).toHaveLength(63);
});

it("1,000 PUTs of one key through both zones' endpoints get 1,000 ids, and one sent after another's answer the greater", async () => {
  const place = await versionedBucket(zones, "ch-dk-2");
  const clients = ["ch-dk-2", "at-vie-1"].map((zone) => zones.s3(zone));
  const written: { sent: number; answered: number; id: bigint }[] = [];
  const write = async (worker: number) => {
    for (let i = 0; i < 50; i++) {
      const sent = performance.now();
      const put = new PutObjectCommand({ Bucket: place.bucket, Key: "k", Body: `${worker}-${i}` });
      const { VersionId } = await clients[worker % 2]!.send(put);
      written.push({ sent, answered: performance.now(), id: BigInt(VersionId!) });
    }
  };
  await Promise.all(Array.from({ length: 20 }, (_, worker) => write(worker)));
  expect(new Set(written.map(({ id }) => id)).size).toBe(1000);
  const byAnswer = [...written].sort((one, other) => one.answered - other.answered);
  let greatest = 0n;
  let at = 0;
  for (const { sent, id } of [...written].sort((one, other) => one.sent - other.sent)) {
    for (; at < byAnswer.length && byAnswer[at]!.answered < sent; at++) {
      if (byAnswer[at]!.id > greatest) greatest = byAnswer[at]!.id;
    }
    expect(id > greatest).toBe(true);
  }
  expect(await allVersions(place)).toHaveLength(1000);
}, 60_000);

it("a PUT that races PutBucketReplication is before it or bound by it, never neither, 1,000 times", async () => {
  const source = await versionedBucket(zones, "ch-dk-2");
  const destinations = [await versionedBucket(zones, "at-vie-1"), await versionedBucket(zones, "at-vie-1")];
  const role = await makeRole(zones, undefined);
  const done = { configurations: 0, puts: 0 };
  let stopped = false;
  // Two configurations take turns, so each version is bound by the one that stood when it was committed.
  const history: { answered: number; sent: number; destination: string }[] = [];
  const configure = async () => {
    while (!stopped) {
      const destination = destinations[done.configurations % 2]!.bucket;
      const sent = performance.now();
      await putReplication(source, role, [ruleTo(destination)]);
      history.push({ sent, answered: performance.now(), destination });
      done.configurations++;
    }
  };
  const puts: { key: string; sent: number; answered: number; versionId: string }[] = [];
  const put = async (worker: number) => {
    for (let i = 0; i < 125; i++) {
      const key = `k-${worker}-${i}`;
      const sent = performance.now();
      const { VersionId } = await source.client.send(
        new PutObjectCommand({ Bucket: source.bucket, Key: key, Body: "x" }),
      );
      puts.push({ key, sent, answered: performance.now(), versionId: VersionId! });
      done.puts++;
    }
  };
  const configuring = configure();
  await until(() => done.configurations > 0);
  await Promise.all(Array.from({ length: 8 }, (_, worker) => put(worker)));
  stopped = true;
  await configuring;

  const index = await zones.d1("ch-dk-2");
  const { results } = await index
    .prepare(
      `SELECT v.key, v.version_id AS versionId, l.destination_name AS destination
       FROM versions v JOIN json_each(v.bound) b JOIN links l ON l.link_id = b.value
       WHERE v.bucket_id = (SELECT bucket_id FROM buckets WHERE name = ?1)`,
    )
    .bind(source.bucket)
    .all<{ key: string; versionId: string; destination: string }>();
  const boundTo = new Map(results.map((row) => [row.versionId, row.destination]));
  expect(boundTo.size).toBe(1000);
  for (const { sent, answered, versionId } of puts) {
    // Configurations that may have stood: the last one answered before the PUT was sent, and any that overlaps it.
    const before = history.filter((configuration) => configuration.answered < sent).at(-1);
    const during = history.filter((configuration) => configuration.sent < answered && configuration.answered >= sent);
    const possible = [...(before ? [before] : []), ...during].map(({ destination }) => destination);
    expect(possible).toContain(boundTo.get(versionId));
  }
  expect(done.configurations).toBeGreaterThan(20);
  const head = await source.client.send(new HeadObjectCommand({ Bucket: source.bucket, Key: puts[0]!.key }));
  expect(head.ReplicationStatus).toBeDefined();
}, 60_000);

it("a GET beside overwrites gives one of the bodies, whole", async () => {
  const client = zones.s3("ch-dk-2");
  const place = { Bucket: "overwritten-bucket", Key: "k" };
  await client.send(new CreateBucketCommand({ Bucket: place.Bucket }));
  const put = (n: number) => client.send(new PutObjectCommand({ ...place, Body: `${n % 10}`.repeat(20_000) }));
  await put(0);
  let isWriting = true;
  const bodies: string[] = [];
  const read = async () => {
    while (isWriting) bodies.push(await (await client.send(new GetObjectCommand(place))).Body!.transformToString());
  };
  const reading = [read(), read(), read()];
  const write = async (from: number) => {
    for (let i = 0; i < 100; i++) await put(from + i);
  };
  await Promise.all([write(0), write(1)]);
  isWriting = false;
  await Promise.all(reading);
  expect(bodies.length).toBeGreaterThan(50);
  expect(bodies.filter((body) => body.length !== 20_000 || new Set(body).size !== 1)).toEqual([]);
}, 60_000);
