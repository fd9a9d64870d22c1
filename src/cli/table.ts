/**
 * The tables that `exo` prints, byte for byte: boxed in a terminal, Markdown where the output is piped.
 *
 * Refuses nothing and wraps nothing: a cell is as wide as its longest line, whatever the terminal's width.
 * Surprising: a box has one rule below its header and none between its rows, and its corners are crosses too.
 * No table library that we looked at prints that.
 */
export type TableStyle = "box" | "markdown";

/** A cell may hold several lines. A header shorter than the rows is filled up with empty cells. */
export interface Table {
  header?: string[];
  rows: string[][];
}

const WIDE =
  /\p{Script=Han}|\p{Script=Hiragana}|\p{Script=Katakana}|\p{Script=Hangul}|\p{Emoji_Presentation}|[\u3000-\u303f\uff01-\uff60\uffe0-\uffe6]/u;
/** marks that stand on the character before, variation selectors and joiners */
const INVISIBLE = /\p{M}|\p{Cf}/u;

/** Columns that a line takes in a terminal. */
export function displayWidth(line: string): number {
  let width = 0;
  for (const character of line) width += INVISIBLE.test(character) ? 0 : WIDE.test(character) ? 2 : 1;
  return width;
}

/** A name that somebody else may have chosen (a key, a metadatum), safe to print: no control character reaches the terminal. */
export function printable(name: string): string {
  return name.replace(/\p{Cc}/gu, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`);
}

/** The table with a newline at its end; nothing at all where there are neither rows nor a header. */
export function renderTable({ header, rows }: Table, style: TableStyle): string {
  const all = header ? [header, ...rows] : rows;
  if (all.length === 0) return "";
  const count = Math.max(...all.map((row) => row.length));
  const widths = Array.from({ length: count }, (_, i) => Math.max(...all.map((row) => cellWidth(row[i] ?? ""))));
  const [cross, line, bar] = style === "box" ? ["┼", "─", "│"] : ["|", "-", "|"];
  const rule = `${cross}${widths.map((width) => line.repeat(width + 2)).join(cross)}${cross}`;
  const head = header ? [headerLine(header, widths, bar), rule] : [];
  const body = rows.flatMap((row) => rowLines(row, widths, bar));
  const edge = style === "box" ? [rule] : [];
  return `${[...edge, ...head, ...body, ...edge].join("\n")}\n`;
}

/**
 * A table inside a cell, without lines: an empty line, then two or more columns three spaces apart, then an empty line.
 * Numbers stand to the right, as `exo` has them.
 */
export function embed(rows: string[][]): string {
  if (rows.length === 0) return "";
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => displayWidth(row[i] ?? ""))));
  const lines = rows.map((row) => `  ${row.map((cell, i) => justify(cell, widths[i] ?? 0)).join("   ")}  `);
  return `\n${lines.join("\n")}\n`;
}

/** Columns without lines: each cell but a row's last is as wide as the widest of its column, and a space. */
export function alignColumns(rows: string[][]): string {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [i, cell] of row.slice(0, -1).entries()) widths[i] = Math.max(widths[i] ?? 0, displayWidth(cell));
  }
  return rows
    .map((row) => row.map((cell, i) => (i < row.length - 1 ? padEnd(cell, (widths[i] ?? 0) + 1) : cell)).join(""))
    .map((line) => `${line}\n`)
    .join("");
}

/** Pads to a width in columns. */
export function padEnd(text: string, width: number): string {
  return text + " ".repeat(Math.max(0, width - displayWidth(text)));
}

function cellWidth(cell: string): number {
  return Math.max(...cell.split("\n").map(displayWidth));
}

function headerLine(header: string[], widths: number[], bar: string): string {
  const cells = widths.map((width, i) => centre((header[i] ?? "").toUpperCase(), width));
  return `${bar} ${cells.join(` ${bar} `)} ${bar}`;
}

function rowLines(row: string[], widths: number[], bar: string): string[] {
  const cells = widths.map((_, i) => (row[i] ?? "").split("\n"));
  const height = Math.max(...cells.map((lines) => lines.length));
  return Array.from({ length: height }, (_, n) => {
    return `${bar} ${cells.map((lines, i) => padEnd(lines[n] ?? "", widths[i] ?? 0)).join(` ${bar} `)} ${bar}`;
  });
}

function centre(text: string, width: number): string {
  const gap = Math.max(0, width - displayWidth(text));
  return padEnd(" ".repeat(Math.floor(gap / 2)) + text, width);
}

function justify(cell: string, width: number): string {
  const isNumber = /^-?(\d{1,3}(,\d{3})*|\d+)(\.\d+)?$/.test(cell);
  return isNumber ? " ".repeat(Math.max(0, width - displayWidth(cell))) + cell : padEnd(cell, width);
}
