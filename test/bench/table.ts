/** A report as tables for people: a block a line, below its name a row for each subject; and the aims at the end. */
import { judge } from "./aims.ts";
import { type Cost, type Figure, MIB, type Page, type Report, type Result } from "./report.ts";

const GAP = "  ";

interface Row {
  line: string;
  subject: string;
  cells: string[];
}

/** `isWhole`: everything was asked for, so that an aim whose line isn't there is told, too. */
export function formatReport(report: Report, isWhole: boolean): string {
  const { results, pages, figures, costs } = report;
  const tables = [
    formatTable(["rate", "p50 ms", "p99 ms", "CPU ms", "to BLOBS", "to D1"], results.map(resultRow)),
    formatTable(["p50 ms", "p99 ms", "CPU ms", "rows/key", "to 1,000"], pages.map(pageRow)),
    formatTable(["figure"], figures.map(figureRow)),
    formatTable(
      ["Worker", "calls", "DO", "Queue", "class A", "class B", "rows read", "written", "clock", "$/M", "AWS $/M"],
      costs.map(costRow),
    ),
    formatAims(report, isWhole),
  ];
  return tables.filter((table) => table !== "").join("\n\n");
}

/** Empty without rows. */
function formatTable(columns: string[], rows: Row[]): string {
  if (rows.length === 0) return "";
  const blocks = Map.groupBy(rows, ({ line }) => line);
  const texts = rows.map(({ subject, cells }) => [GAP + subject, ...cells]);
  const titles = [...blocks.keys()].map((line) => [line]);
  const widths = ["", ...columns].map((title, i) => {
    return Math.max(title.length, ...[...texts, ...(i === 0 ? titles : [])].map((row) => row[i]?.length ?? 0));
  });
  const render = (row: string[]) => {
    const padded = row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)));
    return padded.join(GAP).trimEnd();
  };
  const body = [...blocks].flatMap(([line, own]) => [
    line,
    ...own.map(({ subject, cells }) => render([GAP + subject, ...cells])),
  ]);
  return [render(["", ...columns]), ...body].join("\n");
}

function resultRow(result: Result): Row {
  const { line, subject, size, keys, requestsPerSecond, bytesPerSecond, p50, p99, cpu, ratios } = result;
  const unit = keys === 1 ? "/s" : " keys/s";
  const rate = size < MIB ? round(requestsPerSecond * keys) + unit : `${round(bytesPerSecond / MIB)} MiB/s`;
  return { line, subject, cells: [rate, ...[p50, p99, cpu].map(round), ratio(ratios.blobs), ratio(ratios.d1)] };
}

function pageRow({ line, subject, p50, p99, cpu, rowsPerKey, ratio: to }: Page): Row {
  return { line, subject, cells: [...[p50, p99, cpu].map(round), rowsPerKey.toFixed(2), ratio(to)] };
}

function figureRow({ line, subject, value, unit }: Figure): Row {
  const isJoined = unit === "x" || unit.startsWith("/");
  const text = unit === "" ? value.toLocaleString("en") : round(value);
  return { line, subject, cells: [`${text}${isJoined ? "" : " "}${unit}`.trim()] };
}

function costRow({ line, subject, units, dollars, aws }: Cost): Row {
  const counts = Object.values(units).map((value) => (value === 0 ? "" : count(value)));
  return { line, subject, cells: [...counts, dollars.toFixed(2), aws.toFixed(2)] };
}

/** Small shares keep their digits: a row for each group is no row at all only if it is none. */
function count(value: number): string {
  if (value < 1) return String(Number(value.toPrecision(2)));
  return value.toLocaleString("en", { maximumFractionDigits: value >= 100 ? 0 : 2 });
}

/** Those that weren't measured are left out, where not everything was asked for. */
function formatAims(report: Report, isWhole: boolean): string {
  const verdicts = judge(report).filter(({ figure }) => isWhole || figure !== undefined);
  if (verdicts.length === 0) return "";
  const rows = verdicts.map(({ aim, limit, figure, isMet, worst }): Row => {
    const verdict = isMet === undefined ? "not measured" : isMet ? "met" : "missed";
    return { line: "Aims", subject: aim, cells: [limit, figure ?? "", verdict, worst ? `(${worst})` : ""] };
  });
  const worstWidth = Math.max(...rows.map(({ cells }) => cells[3]!.length));
  for (const { cells } of rows) cells[3] = cells[3]!.padEnd(worstWidth);
  return formatTable(["aim", "figure", "", ""], rows);
}

function ratio(value: number | undefined): string {
  return value === undefined ? "" : `${value.toFixed(2)}x`;
}

/** Three digits are more than a measurement here is worth. */
function round(value: number | undefined): string {
  if (value === undefined) return "";
  if (value >= 100) return Math.round(value).toLocaleString("en");
  return value.toFixed(value >= 10 ? 1 : 2);
}
