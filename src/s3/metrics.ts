/**
 * GetMetrics, an operation of ours: `GET /metrics` tells Prometheus how the zone stands, as far as it is the caller's
 * own organization's. It takes a signature like any other request, in a header or as a presigned URL; policies call it
 * `get-metrics`, in service `sos`, and it has no bucket.
 *
 * So no bucket can be called `metrics`; the path with anything else behind it is NoSuchBucket. Names are CloudWatch's
 * for S3 replication, as Prometheus writes them. How much it may read is bounded in store/metrics.ts.
 */
import { type LinkMetrics, measureOrganization, type OrganizationMetrics } from "../store/metrics.ts";
import { countersOf, DURATIONS, isolateId, type OperationCounters } from "./counters.ts";
import { CONTENT_TYPE, Exposition, type Labels } from "./exposition.ts";
import { operation } from "./operation.ts";

export const GetMetrics = operation(
  "GET /metrics",
  "get-metrics",
  async (ctx) => {
    ctx.authorize("get-metrics", {});
    const { id } = ctx.identity.organization;
    const metrics = await measureOrganization(ctx.env, id);
    const exposition = new Exposition();
    describeReplication(exposition, metrics.links, Date.now());
    describeZone(exposition, metrics);
    describeRequests(exposition, countersOf(id));
    const body = String(exposition);
    const headers = { "content-type": CONTENT_TYPE, "content-length": String(Buffer.byteLength(body)) };
    return new Response(body, { headers });
  },
  { isAnswered: "anywhere", authorizes: "in handler" },
);

/** Upper bounds of lag in milliseconds: 1 to 4,194,304 (70 minutes). */
const LAGS = Array.from({ length: 23 }, (_, i) => 2 ** i);

function labelsOf({ bucket, ruleId, destination }: LinkMetrics): Labels {
  return { bucket, rule: ruleId, destination_bucket: destination };
}

function describeReplication(exposition: Exposition, all: LinkMetrics[], now: number): void {
  const links = all.map((link) => ({ ...link, labels: labelsOf(link) }));
  const standing = links.filter(({ isUp }) => isUp !== undefined);
  const gauge = (name: string, help: string, value: (link: LinkMetrics) => number) =>
    exposition.add(
      "gauge",
      `zonal_replication_${name}`,
      help,
      standing.map((link) => [link.labels, value(link)]),
    );
  gauge("link_up", "1 if the destination's zone answers, 0 if it is probed.", ({ isUp }) => Number(isUp));
  gauge("operations_pending", "Versions that are still to be replicated.", ({ pending }) => pending.operations);
  gauge("bytes_pending", "Bytes of the versions that are still to be replicated.", ({ pending }) => pending.bytes);
  gauge("latency_seconds", "How long the oldest pending version waits by now; 0 if none does.", ({ pending }) =>
    pending.oldest === undefined ? 0 : Math.max(now - pending.oldest, 0) / 1000,
  );
  gauge("pending_capped", "1 if more is pending than was counted.", ({ pending }) => Number(pending.isCapped));
  exposition.add(
    "gauge",
    "zonal_replication_operations_failed",
    "Versions that are FAILED until somebody mends the reason.",
    links.flatMap(({ labels, failed }) =>
      Object.entries(failed.byReason).map(([reason, n]): [Labels, number] => [{ ...labels, reason }, n]),
    ),
  );
  exposition.add(
    "gauge",
    "zonal_replication_failed_capped",
    "1 if more is FAILED than was counted.",
    links.map(({ labels, failed }) => [labels, Number(failed.isCapped)]),
  );
  describeCompleted(exposition, links);
}

function describeCompleted(exposition: Exposition, all: (LinkMetrics & { labels: Labels })[]): void {
  const links = all.map(({ labels, completed }) => ({ labels, bytes: completed.bytes, ...histogram(completed.lag) }));
  exposition.add(
    "counter",
    "zonal_replication_operations_completed_total",
    "Versions that the destination has given its receipt for.",
    links.map(({ labels, total }) => [labels, total]),
  );
  exposition.add(
    "counter",
    "zonal_replication_bytes_completed_total",
    "Bytes of the versions that the destination has given its receipt for.",
    links.map(({ labels, bytes }) => [labels, bytes]),
  );
  exposition.addHistogram(
    "zonal_replication_lag_seconds",
    "From a version's write to the receipt for it. The sum counts each with the upper bound of its bucket.",
    LAGS.map(toSeconds),
    links,
  );
}

function histogram(lag: Record<string, number>): { counts: number[]; sum: number; total: number } {
  const counts = new Array<number>(LAGS.length + 1).fill(0);
  let [sum, total] = [0, 0];
  for (const [text, count] of Object.entries(lag)) {
    const bound = Number(text);
    const bucket = LAGS.findIndex((upper) => bound <= upper);
    counts[bucket < 0 ? LAGS.length : bucket]! += count;
    sum += toSeconds(bound) * count;
    total += count;
  }
  return { counts, sum, total };
}

function describeZone(exposition: Exposition, metrics: OrganizationMetrics): void {
  const { uploads, isTruncated, databaseBytes, rowsRead } = metrics;
  const gauge = (name: string, help: string, samples: [Labels, number][]) =>
    exposition.add("gauge", name, help, samples);
  gauge(
    "zonal_multipart_uploads_open",
    "Multipart uploads neither completed nor aborted.",
    uploads.map(({ bucket, open }) => [{ bucket }, open]),
  );
  gauge(
    "zonal_multipart_uploads_capped",
    "1 if there are more uploads than were looked at.",
    uploads.map(({ bucket, isCapped }) => [{ bucket }, Number(isCapped)]),
  );
  gauge("zonal_metrics_truncated", "1 if there are more buckets and links than are told of.", [
    [{}, Number(isTruncated)],
  ]);
  gauge("zonal_metrics_rows_read", "Rows of the zone's index that were read for this answer.", [[{}, rowsRead]]);
  gauge("zonal_database_bytes", "Size of the zone's index, all organizations together; 10 GB is the limit.", [
    [{}, databaseBytes],
  ]);
}

const EACH = "Each isolate of the zone counts for itself, and this is the one that answers.";

function describeRequests(exposition: Exposition, counters: ReadonlyMap<string, OperationCounters>): void {
  const isolate = isolateId();
  const operations = [...counters].map(([operation, counts]) => ({ labels: { isolate, operation }, ...counts }));
  const counter = (name: string, help: string, samples: [Labels, number][]) =>
    exposition.add("counter", name, `${help} ${EACH}`, samples);
  counter(
    "zonal_requests_total",
    "Requests by operation and S3's error code.",
    operations.flatMap(({ labels, codes }) =>
      [...codes].map(([code, n]): [Labels, number] => [{ ...labels, code }, n]),
    ),
  );
  const totals: [name: string, help: string, value: (counts: OperationCounters) => number][] = [
    ["zonal_request_bytes_total", "Bytes of requests' bodies.", ({ received }) => received],
    ["zonal_response_bytes_total", "Bytes of answers' bodies.", ({ sent }) => sent],
    ["zonal_trips_total", "Calls over bindings (D1, R2, Durable Objects, zones).", ({ trips }) => trips],
  ];
  for (const [name, help, value] of totals) {
    counter(
      name,
      help,
      operations.map((counts) => [counts.labels, value(counts)]),
    );
  }
  exposition.addHistogram(
    "zonal_request_duration_seconds",
    `From a request to its answer's head. ${EACH}`,
    DURATIONS.map(toSeconds),
    operations.map(({ labels, durations, ms }) => ({ labels, counts: durations, sum: toSeconds(ms) })),
  );
}

function toSeconds(milliseconds: number): number {
  return milliseconds / 1000;
}
