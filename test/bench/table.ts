/** The bench's results as a table for people. */

import type { Result } from "./bench.ts";
import { MIB } from "./lines.ts";

const COLUMNS = ["rate", "p50 ms", "p99 ms", "CPU ms", "to BLOBS", "to D1"];
const GAP = "  ";

/** One block a line: its name, and below it a row for each subject. */
export function formatTable(results: Result[]): string {
  const blocks = Map.groupBy(results, ({ line }) => line);
  const rows = results.map((result) => [`${GAP}${result.subject}`, ...cells(result)]);
  const titles = [...blocks.keys()].map((line) => [line]);
  const widths = ["", ...COLUMNS].map((title, i) => {
    return Math.max(title.length, ...[...rows, ...(i === 0 ? titles : [])].map((row) => row[i]?.length ?? 0));
  });
  const render = (row: string[]) =>
    row
      .map((cell, i) => pad(cell, widths[i]!, i))
      .join(GAP)
      .trimEnd();
  const body = [...blocks].flatMap(([line, own]) => [
    line,
    ...own.map((result) => render([`${GAP}${result.subject}`, ...cells(result)])),
  ]);
  return [render(["", ...COLUMNS]), ...body].join("\n");
}

function pad(cell: string, width: number, column: number): string {
  return column === 0 ? cell.padEnd(width) : cell.padStart(width);
}

function cells({ size, requestsPerSecond, bytesPerSecond, p50, p99, cpu, ratios }: Result): string[] {
  const rate = size < MIB ? `${round(requestsPerSecond)}/s` : `${round(bytesPerSecond / MIB)} MiB/s`;
  return [rate, ...[p50, p99, cpu].map(formatTime), ...[ratios.blobs, ratios.d1].map(formatRatio)];
}

function formatTime(milliseconds: number | undefined): string {
  return milliseconds === undefined ? "" : round(milliseconds);
}

function formatRatio(ratio: number | undefined): string {
  return ratio === undefined ? "" : `${ratio.toFixed(2)}x`;
}

/** Three digits are more than a measurement here is worth. */
function round(value: number): string {
  if (value >= 100) return Math.round(value).toLocaleString("en");
  return value.toFixed(value >= 10 ? 1 : 2);
}
