import { beforeAll, describe, expect, it } from "vitest";
import type { Zones } from "../harness.ts";
import { judge } from "./aims.ts";
import { bench } from "./bench.ts";
import { nameSize } from "./large.ts";
import { makeLines } from "./lines.ts";
import { describeCut } from "./outage.ts";
import { describeBurst } from "./replication.ts";
import { FULL, MIB, type Report, type Result, type Sizes } from "./report.ts";
import { formatReport } from "./table.ts";

/** Enough for each figure to be there. */
const SIZES: Sizes = {
  listing: { few: 1000, many: 5000, versioned: 1200, versions: 100, deleteMarkers: 4000, prefixes: 500 },
  backlogs: [20, 30],
  lagsPerSecond: [20],
  burst: 40,
  cut: { seconds: 1, perSecond: 20 },
  large: { parts: 2, partBytes: 5 * MIB },
  cost: { alone: 5, together: 64 },
};

/** Measures once, when it is first asked for. */
function once(only: RegExp): () => Promise<Report> {
  let measured: Promise<Report> | undefined;
  return () => {
    measured ??= bench({ rounds: 1, seconds: 0.1, only, sizes: SIZES, progress: () => {} });
    return measured;
  };
}

const timed = once(/PUT 1 KiB, 1 |GET 64 KiB, 1 |HEAD, 1 |DELETE, 1 |DeleteObjects|Replication/);
const listed = once(/LIST/);
const counted = once(/Cost/);

describe("what is timed", () => {
  let report: Report;
  beforeAll(async () => {
    report = await timed();
  }, 120_000);

  it("is PUT, GET, HEAD and DELETE beside the bare platform", () => {
    expect(report.results.map(({ line, subject }) => `${line}: ${subject}`)).toEqual([
      "PUT 1 KiB, 1 client: signed hash",
      "PUT 1 KiB, 1 client: aws-chunked, CRC32",
      "PUT 1 KiB, 1 client: unsigned payload",
      "PUT 1 KiB, 1 client: bare BLOBS.put",
      "PUT 1 KiB, 1 client: bare D1 insert",
      "GET 64 KiB, 1 client: GetObject",
      "GET 64 KiB, 1 client: bare BLOBS.get",
      "HEAD, 1 client: HeadObject",
      "HEAD, 1 client: bare D1 select",
      "DELETE, 1 client: DeleteObject, versioned",
      "DELETE, 1 client: DeleteObject, unversioned",
      "DELETE, 1 client: bare D1 delete",
      "DeleteObjects of 1,000, 1 client: DeleteObjects, versioned",
      "DeleteObjects of 1,000, 1 client: DeleteObjects, unversioned",
      "DeleteObjects of 1,000, 1 client: bare D1 delete",
    ]);
    for (const { requestsPerSecond } of report.results) expect(requestsPerSecond).toBeGreaterThan(0);
    const ratios = (subject: string) => report.results.find((result) => result.subject === subject)!.ratios;
    expect(ratios("unsigned payload")).toEqual({ blobs: expect.any(Number), d1: expect.any(Number) });
    expect(ratios("GetObject")).toEqual({ blobs: expect.any(Number) });
  });

  it("is replication: lag, burst, backlog, an outage, and a large object with the memory that it takes", () => {
    const figures = report.figures.map(({ line, subject }) => `${line}: ${subject}`);
    expect(figures.filter((figure) => !figure.includes("memory"))).toEqual([
      "Replication, lag: p50 at 20 objects/s, PUT's answer to readable",
      "Replication, lag: p99 at 20 objects/s, PUT's answer to readable",
      "Replication, burst: 40 x 4 KiB at 32 clients, PUTs answered",
      "Replication, burst: 40 x 4 KiB at 32 clients, first PUT to last arrival",
      "Replication, burst: 40 x 4 KiB at 32 clients, last answer to last arrival",
      "Replication, backlog: drain of 20 x 4 KiB",
      "Replication, backlog: one request for each object, 6 at once",
      "Replication, backlog: drain of 20 x 4 KiB, to one request for each object, 6 at once",
      "Replication, backlog: drain of 30 x 4 KiB",
      "Replication, outage: 1 s cut, objects and delete markers written meanwhile",
      "Replication, outage: 1 s cut, its end to all there",
      "Replication, large: 10 MiB, bare BLOBS.put of its parts, 4 at once",
      "Replication, large: 10 MiB, bare BLOBS.put of its parts, one after the other",
      "Replication, large: 10 MiB, bare Worker, its parts from R2 to the other zone's R2",
      "Replication, large: 10 MiB, first byte to Complete's answer",
      "Replication, large: 10 MiB, Complete's answer to there",
      "Replication, large: 10 MiB, first byte to there",
      "Replication, large: 10 MiB, Complete's answer to there, to bare BLOBS.put of its parts, 4 at once",
      "Replication, large: 10 MiB, Complete's answer to there, to bare Worker, its parts from R2 to the other zone's R2",
    ]);
    for (const { value } of report.figures) expect(value).toBeGreaterThanOrEqual(0);
    expect(report.figures.find(({ subject }) => subject.includes("written meanwhile"))!.value).toBe(22);
    expect(figures.some((figure) => figure.endsWith("growth by upload and replication"))).toBe(
      process.platform === "linux",
    );
  });
});

it("A LIST never examines a key at more than 4 rows read", async () => {
  const { pages } = await listed();
  expect(pages.map(({ subject }) => subject)).toEqual([
    "1,000 keys",
    "5,000 keys",
    "1,000 keys, 100 versions each",
    "1,200 keys, 100 versions each",
    "delimiter, 5,000 keys under 500 common prefixes",
    "behind 4,000 delete markers, all pages to the first key",
  ]);
  for (const { subject, rowsPerKey } of pages) {
    expect(rowsPerKey, subject).toBeGreaterThan(1);
    expect(rowsPerKey, subject).toBeLessThanOrEqual(4);
  }
}, 120_000);

describe("what an operation bills", () => {
  let report: Report;
  beforeAll(async () => {
    report = await counted();
  }, 120_000);
  const unitsOf = (name: string) => report.costs.find(({ line }) => line === `Cost: ${name}`)!.units;

  it("an inline PUT with one destination bills one request to a Worker and to a Sequencer, 3 rows and nothing of R2", () => {
    const own = unitsOf("PUT 1 KiB, one destination");
    expect(own).toMatchObject({ workerRequests: 1, objectRequests: 1, classA: 0, classB: 0, rowsWritten: 3 });
    expect(own.queueOperations).toBeLessThanOrEqual(3);
    expect(unitsOf("PUT 1 KiB, unversioned")).toMatchObject({ classA: 0, classB: 0, rowsWritten: 2 });
    expect(unitsOf("PUT 1 KiB, versioned")).toMatchObject({ classA: 0, classB: 0, rowsWritten: 2 });
  });

  it("its replication bills nothing of R2, and 3 rows beside one that all of a drain share", () => {
    const { classA, classB, rowsWritten } = unitsOf("PUT 1 KiB, one destination: its replication");
    expect({ classA, classB }).toEqual({ classA: 0, classB: 0 });
    expect(rowsWritten).toBeGreaterThanOrEqual(3);
    expect(rowsWritten).toBeLessThanOrEqual(4);
  });

  it("a GET of an inline object and a HEAD write nothing and touch nothing of R2", () => {
    const none = { classA: 0, classB: 0, rowsWritten: 0, queueOperations: 0 };
    expect(unitsOf("GET 1 KiB")).toMatchObject(none);
    expect(unitsOf("HEAD")).toMatchObject(none);
  });

  it("a large PUT is one class A operation, and its replica one more of each class", () => {
    expect(unitsOf("PUT 1 MiB, one destination")).toMatchObject({ classA: 1, classB: 0, rowsWritten: 3 });
    expect(unitsOf("PUT 1 MiB, one destination: its replication")).toMatchObject({ classA: 1, classB: 1 });
    expect(unitsOf("Multipart upload of 3 parts")).toMatchObject({ classA: 3, classB: 0, workerRequests: 5 });
  });
});

it("writes tables that say how far from the bare platform a line is, and which aims are met", () => {
  const common = { line: "PUT 1 MiB, 1 client", size: MIB, keys: 1, clients: 1, p50: 12.345, p99: 1234.5, cpu: 3 };
  const results: Result[] = [
    {
      ...common,
      subject: "signed hash",
      isBare: false,
      requestsPerSecond: 50,
      bytesPerSecond: 50 * MIB,
      ratios: { blobs: 0.5 },
    },
    {
      ...common,
      subject: "bare BLOBS.put",
      isBare: true,
      requestsPerSecond: 100,
      bytesPerSecond: 100 * MIB,
      ratios: {},
    },
  ];
  const report: Report = { results, pages: [], figures: [], costs: [] };
  expect(formatReport(report, true)).toMatch(/^ {2}64 MiB GET, to bare +at least 0.9x +not measured$/m);
  expect(formatReport(report, false).split("\n")).toEqual([
    "                           rate  p50 ms  p99 ms  CPU ms  to BLOBS  to D1",
    "PUT 1 MiB, 1 client",
    "  signed hash        50.0 MiB/s    12.3   1,235    3.00     0.50x",
    "  bare BLOBS.put      100 MiB/s    12.3   1,235    3.00",
    "",
    "                                             aim  figure",
    "Aims",
    "  1 MiB PUT, signed hash, to bare  at least 0.9x    0.5x  missed",
  ]);
  expect(judge(report).filter(({ isMet }) => isMet !== undefined)).toEqual([
    { aim: "1 MiB PUT, signed hash, to bare", limit: "at least 0.9x", figure: "0.5x", worst: undefined, isMet: false },
  ]);
});

it("judges a figure as it was measured, before it is rounded", () => {
  const figure = { line: "Replication, lag", subject: "p50 at 20 objects/s", unit: "ms" } as const;
  const verdict = (value: number) => {
    const report: Report = { results: [], pages: [], figures: [{ ...figure, value }], costs: [] };
    return judge(report).find(({ aim }) => aim === "replication lag, p50");
  };
  expect(verdict(15)).toMatchObject({ isMet: true });
  expect(verdict(15.0001)).toMatchObject({ isMet: false });
});

it("has a line for each aim in a full run", async () => {
  const [{ figures }, { pages }, { costs }] = [await timed(), await listed(), await counted()];
  const renamed = figures.map((figure) => ({ ...figure, subject: nameInFull(figure.subject) }));
  const missing = judge({ results: fullResults(), pages, figures: renamed, costs }).filter(
    ({ figure }) => figure === undefined,
  );
  const memory = process.platform === "linux" ? [] : [expect.stringContaining("growth of workerd")];
  expect(missing.map(({ aim }) => aim)).toEqual(memory);
}, 240_000);

/** What a figure of these small sizes is called in a full run. */
function nameInFull(subject: string): string {
  const names = (sizes: Sizes) => [
    describeBurst(sizes.burst),
    describeCut(sizes.cut.seconds),
    nameSize(sizes.large.parts * sizes.large.partBytes),
  ];
  const full = names(FULL);
  return names(SIZES).reduce((named, small, i) => named.replace(small, full[i]!), subject);
}

/** Of every line of PUT, GET and HEAD, as if it had been measured. */
function fullResults(): Result[] {
  const organizations = { main: { key: "", secret: "" } };
  const zones = { endpoint: () => "http://127.0.0.1", organizations } as unknown as Zones;
  const figures = { requestsPerSecond: 1, bytesPerSecond: 1, p50: 1, p99: 1, ratios: { blobs: 1, d1: 1 } };
  return makeLines(zones, 1).flatMap(({ name, clients, size, subjects }) =>
    subjects.map((subject): Result => {
      const isBare = subject.bare !== undefined;
      return { line: name, subject: subject.name, isBare, clients, size, keys: 1, ...figures };
    }),
  );
}
