import {
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadBucketCommand,
  PutObjectCommand,
} from "@aws-sdk/client-s3";
import { AwsV4Signer } from "aws4fetch";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Exposition } from "../../src/s3/exposition.ts";
import { type OrganizationName, startZones, until, type Zones } from "../harness.ts";
import { link, makeRole, type Place, putReplication, ruleTo, seedPolicy, statusOf, versionedBucket } from "../links.ts";
import { Metrics } from "./prometheus.ts";
import { type RawRequest, send } from "./raw.ts";

let zones: Zones;

beforeAll(async () => {
  zones = await startZones({ vars: { IAM_CACHE_SECONDS: "20" } });
});
afterAll(() => zones?.stop());

async function scrape(options: RawRequest = {}): Promise<Metrics> {
  const answer = await send(zones, "GET", "/metrics", options);
  expect([answer.status, answer.text.slice(0, 2)]).toEqual([200, "# "]);
  expect(answer.headers["content-type"]).toBe("text/plain; version=0.0.4; charset=utf-8");
  return new Metrics(answer.text);
}

const put = async ({ client, bucket }: Place, Key: string, Body = "12345") =>
  await client.send(new PutObjectCommand({ Bucket: bucket, Key, Body }));

async function linked(organization: OrganizationName = "main"): Promise<[Place, Place, Record<string, string>]> {
  const source = await versionedBucket(zones, "ch-dk-2", undefined, organization);
  const destination = await versionedBucket(zones, "at-vie-1", undefined, organization);
  const role = await makeRole(zones, seedPolicy(source.bucket, destination.bucket), organization);
  await putReplication(source, role, [ruleTo(destination.bucket)]);
  const rule = `to-${destination.bucket}`;
  return [source, destination, { bucket: source.bucket, rule, destination_bucket: destination.bucket }];
}

describe("GetMetrics", () => {
  test("counts no bytes that somebody without a signature only claims", async () => {
    const { bucket } = await versionedBucket(zones, "ch-dk-2");
    const headers = { "x-amz-decoded-content-length": "999999999999999" };
    const answer = await fetch(`${zones.endpoint("ch-dk-2")}/${bucket}/k`, { method: "PUT", headers, body: "x" });
    expect(answer.status).toBe(403);
    const metrics = await scrape();
    const labels = { operation: "PutObject", code: "AccessDenied" };
    expect(metrics.value("zonal_requests_total", labels)).toBeGreaterThan(0);
    expect(metrics.value("zonal_request_bytes_total", { operation: "PutObject" }) ?? 0).toBeLessThan(1e9);
  });

  test("tells what the isolate has answered: requests by code, bytes, trips and durations", async () => {
    const { client, bucket } = await versionedBucket(zones, "ch-dk-2");
    const before = await scrape();
    const value = (metrics: Metrics, name: string, operation: string, labels = {}, suffix = "") =>
      metrics.value(name, { operation, ...labels }, suffix) ?? 0;
    for (let i = 0; i < 3; i++)
      await client.send(new PutObjectCommand({ Bucket: bucket, Key: `k${i}`, Body: "1234567" }));
    for (let i = 0; i < 2; i++) await client.send(new GetObjectCommand({ Bucket: bucket, Key: "k0" }));
    await client.send(new GetObjectCommand({ Bucket: bucket, Key: "missing" })).catch(() => {});
    const after = await scrape();
    const risen = (...which: [name: string, operation: string, labels?: object, suffix?: string]) =>
      value(after, ...which) - value(before, ...which);
    expect(risen("zonal_requests_total", "PutObject", { code: "OK" })).toBe(3);
    expect(risen("zonal_requests_total", "GetObject", { code: "OK" })).toBe(2);
    expect(risen("zonal_requests_total", "GetObject", { code: "NoSuchKey" })).toBe(1);
    expect(risen("zonal_requests_total", "GetMetrics", { code: "OK" })).toBe(1);
    expect(risen("zonal_request_bytes_total", "PutObject")).toBe(21);
    expect(risen("zonal_response_bytes_total", "GetObject")).toBeGreaterThan(14);
    expect(risen("zonal_trips_total", "PutObject")).toBe(3);
    expect(risen("zonal_request_duration_seconds", "PutObject", {}, "_count")).toBe(3);
    expect(after.get("zonal_requests_total")).toMatchObject({ type: "counter" });
    expect(after.get("zonal_requests_total").help).toContain("isolate");
  });

  test("tells what is pending while the destination is away, and what was completed once it is back", async () => {
    const [source, , labels] = await linked();
    await put(source, "first");
    await until(async () => (await statusOf(source, "first")) === "COMPLETED");
    await zones.cut("at-vie-1", "zones");
    for (const key of ["a", "b", "c"]) await put(source, key);
    await source.client.send(new DeleteObjectCommand({ Bucket: source.bucket, Key: "a" }));
    const down = await until(async () => {
      const metrics = await scrape();
      return metrics.value("zonal_replication_link_up", labels) === 0 && metrics;
    });
    const replication = (metrics: Metrics, name: string, suffix = "") =>
      metrics.value(`zonal_replication_${name}`, labels, suffix);
    expect(replication(down, "operations_pending")).toBe(4);
    expect(replication(down, "bytes_pending")).toBe(15);
    expect(replication(down, "latency_seconds")).toBeGreaterThan(0);
    expect(replication(down, "latency_seconds")).toBeLessThan(60);
    expect(replication(down, "pending_capped")).toBe(0);
    expect(replication(down, "operations_completed_total")).toBe(1);
    await zones.heal("at-vie-1");
    await until(async () => (await statusOf(source, "c")) === "COMPLETED", { deadline: 30_000 });
    const up = await until(async () => {
      const metrics = await scrape();
      return replication(metrics, "operations_pending") === 0 && metrics;
    });
    expect(replication(up, "link_up")).toBe(1);
    expect(replication(up, "bytes_pending")).toBe(0);
    expect(replication(up, "latency_seconds")).toBe(0);
    expect(replication(up, "operations_completed_total")).toBe(5);
    expect(replication(up, "bytes_completed_total")).toBe(20);
    expect(replication(up, "lag_seconds", "_count")).toBe(5);
    expect(replication(up, "lag_seconds", "_sum")).toBeGreaterThan(replication(down, "lag_seconds", "_sum")!);
    expect(up.value("zonal_replication_operations_failed", labels)).toBeUndefined();
  }, 60_000);

  test("tells what is FAILED by its reason, and what is left of a rule that is gone", async () => {
    const [source, destination, labels] = await linked();
    const role = await makeRole(zones, seedPolicy(source.bucket, "elsewhere"));
    await putReplication(source, role, [ruleTo(destination.bucket)]);
    await put(source, "denied");
    await until(async () => (await statusOf(source, "denied")) === "FAILED");
    const failed = (metrics: Metrics, reason: string) =>
      metrics.value("zonal_replication_operations_failed", { ...labels, reason });
    expect(failed(await scrape(), "DstPutObjectNotPermitted")).toBe(1);
    await zones.cut("at-vie-1", "zones");
    try {
      await put(source, "left");
      const other = await versionedBucket(zones, "ch-dk-2");
      await putReplication(source, role, [ruleTo(other.bucket)]);
      const metrics = await scrape();
      expect(failed(metrics, "SrcBucketReplicationConfigMissing")).toBe(1);
      expect(failed(metrics, "DstPutObjectNotPermitted")).toBe(1);
      expect(metrics.value("zonal_replication_operations_pending", labels)).toBeUndefined();
    } finally {
      await zones.heal("at-vie-1");
    }
  });

  test("tells open uploads and the size of the database", async () => {
    const { client, bucket } = await versionedBucket(zones, "ch-dk-2");
    for (const Key of ["a", "b"]) await client.send(new CreateMultipartUploadCommand({ Bucket: bucket, Key }));
    const metrics = await scrape();
    expect(metrics.value("zonal_multipart_uploads_open", { bucket })).toBe(2);
    expect(metrics.value("zonal_multipart_uploads_capped", { bucket })).toBe(0);
    expect(metrics.value("zonal_database_bytes")).toBeGreaterThan(10_000);
    expect(metrics.value("zonal_metrics_truncated")).toBe(0);
  });

  test("tells an organization of nobody else's buckets and requests", async () => {
    const [source] = await linked("alt");
    await put(source, "k");
    await until(async () => (await statusOf(source, "k")) === "COMPLETED");
    const answers = await Promise.all(
      (["main", "alt"] as const).map(async (organization) => await send(zones, "GET", "/metrics", { organization })),
    );
    const [main, alt] = answers.map(({ text }) => text);
    expect(main).not.toContain(source.bucket);
    expect(alt).toContain(`bucket="${source.bucket}"`);
    const puts = (text: string) =>
      new Metrics(text).value("zonal_requests_total", { operation: "PutObject", code: "OK" });
    expect(puts(alt!)).toBe(1);
    expect(puts(main!)).toBeGreaterThan(1);
  });

  test("writes labels so that whatever a rule is called is read back", async () => {
    const source = await versionedBucket(zones, "ch-dk-2");
    const destination = await versionedBucket(zones, "at-vie-1");
    await link(zones, source, destination);
    const ID = 'a "rule" of \\n {x="y"}';
    const role = await makeRole(zones, seedPolicy(source.bucket, destination.bucket));
    await putReplication(source, role, [ruleTo(destination.bucket, { ID })]);
    const metrics = await scrape();
    expect(metrics.value("zonal_replication_link_up", { bucket: source.bucket, rule: ID })).toBe(1);
  });
});

describe("Who may GetMetrics", () => {
  async function keyFor(expression: string): Promise<{ key: string; secret: string }> {
    const rules = [{ action: "allow", expression }];
    const policy = { "default-service-strategy": "deny", services: { sos: { type: "rules", rules } } };
    const roleId = await makeRole(zones, policy);
    const name = `key-${crypto.randomUUID()}`;
    return (await zones.control<{ key: string; secret: string }>("POST", "/api-key", { name, "role-id": roleId })).body;
  }

  test("nobody without a signature, or with a wrong one", async () => {
    const anonymous = await send(zones, "GET", "/metrics", { isSigned: false });
    expect([anonymous.status, anonymous.code]).toEqual([403, "AccessDenied"]);
    const key = { key: zones.organizations.main.key, secret: "wrong" };
    expect(await send(zones, "GET", "/metrics", { key })).toMatchObject({ status: 403, code: "SignatureDoesNotMatch" });
  });

  test("a role whose policy allows get-metrics, which has no bucket", async () => {
    const allowed = await keyFor("operation == 'get-metrics' && !has(parameters.bucket)");
    expect((await scrape({ key: allowed })).value("zonal_metrics_truncated")).toBe(0);
    const denied = await keyFor("operation != 'get-metrics'");
    expect(await send(zones, "GET", "/metrics", { key: denied })).toMatchObject({ status: 403, code: "AccessDenied" });
  });

  test("whoever has a presigned URL, as Prometheus asks with it", async () => {
    const { key, secret } = await keyFor("operation == 'get-metrics'");
    const presigned = await new AwsV4Signer({
      method: "GET",
      url: `${zones.endpoint("ch-dk-2")}/metrics?X-Amz-Expires=${7 * 24 * 3600}`,
      accessKeyId: key,
      secretAccessKey: secret,
      service: "s3",
      region: "ch-dk-2",
      signQuery: true,
    }).sign();
    // Prometheus has them as `params`, and orders them as it likes.
    const url = new URL(presigned.url);
    url.search = String(new URLSearchParams([...url.searchParams].reverse()));
    const answer = await fetch(url, {
      headers: { accept: "text/plain;version=0.0.4;q=0.5", "accept-encoding": "gzip" },
    });
    expect(answer.status).toBe(200);
    new Metrics(await answer.text());
  });
});

describe("A bucket called metrics", () => {
  test("can't be made, and isn't there", async () => {
    const client = zones.s3("ch-dk-2");
    const create = client.send(new CreateBucketCommand({ Bucket: "metrics" }));
    await expect(create).rejects.toMatchObject({ name: "BucketAlreadyExists", $metadata: { httpStatusCode: 409 } });
    await expect(client.send(new HeadBucketCommand({ Bucket: "metrics" }))).rejects.toMatchObject({ name: "NotFound" });
    const elsewhere = await send(zones, "PUT", "/metrics", { region: "at-vie-1" });
    expect(elsewhere.code).toBe("BucketAlreadyExists");
    const requests = [
      ["GET", "/metrics?list-type=2"],
      ["GET", "/metrics?versioning"],
      ["GET", "/metrics?metrics"],
      ["GET", "/metrics/k"],
      ["PUT", "/metrics/k"],
      ["DELETE", "/metrics"],
    ] as const;
    for (const [method, target] of requests) {
      const { code } = await send(zones, method, target, { body: method === "PUT" ? "x" : undefined });
      expect([method, target, code]).toEqual([
        method,
        target,
        target === "/metrics?metrics" ? "NotImplemented" : "NoSuchBucket",
      ]);
    }
  });
});

test("Whatever labels, help and values say is read back from the text", () => {
  const labels = fc.dictionary(fc.stringMatching(/^[a-zA-Z_][a-zA-Z0-9_]{0,5}$/), fc.string({ unit: "binary" }), {
    noNullPrototype: true,
  });
  const value = fc.oneof(
    fc.nat(),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((number) => number + 0),
  );
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), labels, value, (help, of, number) => {
      const exposition = new Exposition();
      exposition.add("gauge", "some_gauge", help, [[of, number]]);
      const metrics = new Metrics(String(exposition));
      expect(metrics.get("some_gauge").samples.get("some_gauge")).toEqual([{ labels: of, value: number }]);
    }),
  );
});
