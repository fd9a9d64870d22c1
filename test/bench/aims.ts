/**
 * What is aimed at, as data: a name, a limit, and where its figures stand in a report. An aim of several figures is as
 * good as the worst of them.
 */

import { COST } from "./cost.ts";
import { LARGE, nameSize } from "./large.ts";
import { describeCut, OUTAGE } from "./outage.ts";
import { BACKLOG, BURST, describeBurst, LAG } from "./replication.ts";
import { FULL, type Report, type Service } from "./report.ts";

interface Found {
  name: string;
  value: number;
}

interface Aim {
  name: string;
  limit: number;
  /** whether a figure must be at least the limit, or at most */
  is: "at least" | "at most";
  unit: string;
  find(report: Report): Found[];
}

/** An aim with its worst figure. */
export interface Verdict {
  aim: string;
  limit: string;
  /** undefined: it wasn't measured in this run */
  figure: string | undefined;
  /** the line of the figure, if there are several */
  worst: string | undefined;
  isMet: boolean | undefined;
}

// As they are called in a full run.
const BURST_NAME = describeBurst(FULL.burst);
const CUT_NAME = describeCut(FULL.cut.seconds);
const LARGE_NAME = nameSize(FULL.large.parts * FULL.large.partBytes);

const AIMS: Aim[] = [
  atLeast(3, "x", "1 KiB PUT at 64 clients, to bare BLOBS.put", ratios(/^PUT 1 KiB, 64/, "signed hash", "blobs")),
  atLeast(0.9, "x", "1 MiB PUT, signed hash, to bare", ratios(/^PUT 1 MiB/, "signed hash", "blobs")),
  atLeast(0.9, "x", "64 MiB PUT, signed hash, to bare", ratios(/^PUT 64 MiB/, "signed hash", "blobs")),
  atLeast(0.6, "x", "1 MiB and 64 MiB PUT, aws-chunked, to bare", ratios(/^PUT .* MiB/, "aws-chunked, CRC32", "blobs")),
  atLeast(0.9, "x", "1 MiB GET, to bare", ratios(/^GET 1 MiB/, "GetObject", "blobs")),
  atLeast(0.9, "x", "64 MiB GET, to bare", ratios(/^GET 64 MiB/, "GetObject", "blobs")),
  atLeast(0.8, "x", "1 KiB GET at 16 clients, to a bare D1 select", ratios(/^GET 1 KiB, 16/, "GetObject", "d1")),
  atLeast(2, "x", "1 KiB GET at 64 clients, to a bare D1 select", ratios(/^GET 1 KiB, 64/, "GetObject", "d1")),
  atMost(1.3, "x", "LIST page of many keys or versions, to that at 1,000 keys", ({ pages }) => {
    const own = pages.filter(({ subject }) => !/delete markers|delimiter/.test(subject)).slice(1);
    return own.map(({ subject, ratio }) => ({ name: subject, value: ratio }));
  }),
  atMost(4, "", "LIST, D1 rows read for each key examined", ({ pages }) => {
    return pages.map(({ subject, rowsPerKey }) => ({ name: subject, value: rowsPerKey }));
  }),
  atMost(15, "ms", "replication lag, p50", figures(LAG, /^p50/)),
  atMost(50, "ms", "replication lag, p99", figures(LAG, /^p99/)),
  atLeast(600, "/s", `${BURST_NAME}, first PUT to last arrival`, figures(BURST, starting(BURST_NAME, ", first PUT"))),
  atMost(1, "s", `${BURST_NAME}, last answer to last arrival`, figures(BURST, starting(BURST_NAME, ", last answer"))),
  atLeast(5, "x", "drain of a backlog, to one request for each object", figures(BACKLOG, /to one request/)),
  atMost(
    15,
    "s",
    `objects and markers of a ${CUT_NAME}, there after its end`,
    figures(OUTAGE, starting(CUT_NAME, ", its end")),
  ),
  atMost(
    1.2,
    "x",
    `${LARGE_NAME} multipart object, Complete to there, to bare BLOBS.put of its parts`,
    figures(LARGE, starting(LARGE_NAME, ", Complete's answer to there, to bare BLOBS.put")),
  ),
  atMost(
    128,
    "MiB",
    `${LARGE_NAME} multipart object, growth of workerd`,
    figures(LARGE, starting(LARGE_NAME, ", workerd's memory, growth by upload")),
  ),
  atMost(
    0,
    "",
    "inline PUT with one destination, R2 operations",
    units(/1 KiB, one destination/, /./, ["classA", "classB"]),
  ),
  atMost(
    3,
    "",
    "inline PUT with one destination at 64 clients, rows written",
    units(/one destination$/, /^64/, ["rowsWritten"]),
  ),
  atMost(
    3,
    "",
    "its replication at 64 clients, rows written",
    units(/1 KiB, one destination: its/, /^64/, ["rowsWritten"]),
  ),
];

/** Every aim, in their order. */
export function judge(report: Report): Verdict[] {
  return AIMS.map((aim) => {
    const found = aim.find(report).filter(({ value }) => !Number.isNaN(value));
    const worst = found.toSorted((a, b) => (aim.is === "at least" ? a.value - b.value : b.value - a.value))[0];
    return {
      aim: aim.name,
      limit: `${aim.is} ${show(aim.limit, aim.unit)}`,
      figure: worst && show(worst.value, aim.unit),
      worst: found.length > 1 ? worst!.name : undefined,
      isMet: worst && (aim.is === "at least" ? worst.value >= aim.limit : worst.value <= aim.limit),
    };
  });
}

/** Behind the point. A figure is judged as it was measured, not as it is shown. */
const DIGITS = 3;

function show(value: number, unit: string): string {
  const text = value.toLocaleString("en", { maximumFractionDigits: value >= 100 ? 0 : DIGITS });
  return unit === "x" || unit.startsWith("/") ? text + unit : `${text} ${unit}`.trim();
}

function atLeast(limit: number, unit: string, name: string, find: Aim["find"]): Aim {
  return { name, limit, is: "at least", unit, find };
}

function atMost(limit: number, unit: string, name: string, find: Aim["find"]): Aim {
  return { name, limit, is: "at most", unit, find };
}

function ratios(line: RegExp, subject: string, service: Service): Aim["find"] {
  return ({ results }) => {
    const own = results.filter((result) => line.test(result.line) && result.subject === subject);
    return own.map((result) => ({ name: result.line, value: result.ratios[service] ?? Number.NaN }));
  };
}

function starting(...parts: string[]): RegExp {
  return new RegExp(`^${parts.join("").replaceAll(".", "\\.")}`);
}

function figures(line: string, subject: RegExp): Aim["find"] {
  return (report) => {
    const own = report.figures.filter((figure) => figure.line === line && subject.test(figure.subject));
    return own.map((figure) => ({ name: figure.subject, value: figure.value }));
  };
}

function units(line: RegExp, subject: RegExp, summed: (keyof Report["costs"][number]["units"])[]): Aim["find"] {
  return ({ costs }) => {
    const own = costs.filter(
      (cost) => cost.line.startsWith(COST) && line.test(cost.line) && subject.test(cost.subject),
    );
    return own.map((cost) => ({
      name: `${cost.line}, ${cost.subject}`,
      value: summed.reduce((sum, unit) => sum + cost.units[unit], 0),
    }));
  };
}
