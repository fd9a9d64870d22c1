/**
 * What a command says: one result as a table, as JSON or as text, and the forms of sizes and times in it.
 *
 * JSON is one compact line with `exo`'s keys, some of which are odd (`permission`, a role list's `key` and `type`);
 * scripts depend on them. Text is the fields by tabs; a single object gets no newline at its end, as `exo` has it.
 */
import { createInterface } from "node:readline";
import { renderTable, type Table, type TableStyle } from "./table.ts";

export type OutputFormat = "table" | "json" | "text";

/** One result in all its forms. A Map stands for a map of names that aren't ours, an object for a struct. */
export interface Result {
  json: unknown;
  /** a table, or lines that are laid out already */
  table: Table | string;
  /** fields for `-O text` where they are not simply the values in `json` */
  text?: unknown[];
}

export function print(result: Result, format: OutputFormat): void {
  write(formatters[format](result));
}

const formatters: Record<OutputFormat, (result: Result) => string> = {
  json: ({ json }) => `${JSON.stringify(json, mapsAsObjects)}\n`,
  text: asText,
  table: ({ table }) => (typeof table === "string" ? table : renderTable(table, tableStyle())),
};

export function write(text: string): void {
  process.stdout.write(text);
}

/** Box in a terminal, Markdown else; ZONAL_TABLE=box|markdown forces one. */
export function tableStyle(): TableStyle {
  const forced = process.env.ZONAL_TABLE;
  if (forced && forced !== "box" && forced !== "markdown") {
    throw new Error(`ZONAL_TABLE must be box or markdown, not ${JSON.stringify(forced)}`);
  }
  return (forced as TableStyle | undefined) || (process.stdout.isTTY ? "box" : "markdown");
}

/** Bytes as `exo` rounds them: `372 B`, `1.5 KiB`, `20 MiB`. */
export function humanSize(bytes: number): string {
  if (bytes < 10) return `${bytes} B`;
  const power = Math.min(6, Math.floor(Math.log(bytes) / Math.log(1024)));
  const value = Math.floor((bytes / 1024 ** power) * 10 + 0.5) / 10;
  return `${value.toFixed(value < 10 ? 1 : 0)} ${["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"][power]}`;
}

/** A time in any form that Date reads, as `2025-02-20 15:50:12 UTC`. */
export function formatTime(time: string): string {
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) throw new Error(`the server gave a time that can't be read: ${time}`);
  return `${date.toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

/** Asks on standard input; only `y` and `yes` are a yes. Throws where the input ends without an answer. */
export async function confirm(question: string): Promise<boolean> {
  write(`[+] ${question} [yN]: `);
  const lines = createInterface({ input: process.stdin });
  for await (const line of lines) {
    lines.close();
    return ["y", "yes"].includes(line.trim().toLowerCase());
  }
  throw new Error("no answer on standard input; use -f to do without one");
}

function mapsAsObjects(_: string, value: unknown): unknown {
  return value instanceof Map ? Object.fromEntries(value) : value;
}

function asText({ json, text }: Result): string {
  const fieldsOf = (item: unknown) =>
    Object.values(item as object)
      .map(fieldText)
      .join("\t");
  if (Array.isArray(json)) return json.map((item) => `${fieldsOf(item)}\n`).join("");
  return text ? text.map(fieldText).join("\t") : fieldsOf(json);
}

/** As Go's `%v` prints it: `exo` has this form, and scripts cut it. */
function fieldText(value: unknown): string {
  if (value === undefined) return "";
  if (value === null) return "<nil>";
  if (Array.isArray(value)) return `[${value.map(fieldText).join(" ")}]`;
  if (value instanceof Map) return `map[${[...value].map(([k, v]) => `${k}:${fieldText(v)}`).join(" ")}]`;
  if (typeof value === "object") return `{${Object.values(value).map(fieldText).join(" ")}}`;
  return String(value);
}
