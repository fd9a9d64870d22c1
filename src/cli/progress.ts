/**
 * The bar of a transfer, and the mark of a request that takes its time.
 *
 * A bar is a line on standard output, as `exo` has it:
 *   name, cut and padded to 16 | `[=====>----]` | `1.00 MiB / 20.00 MiB | 3s`
 * In a terminal it is drawn again every 120 ms; piped, only its last state is printed (`exo` writes escape codes into
 * pipes too). Surprising: an empty object ends with an empty bar, not with a full one.
 */
import { padEnd, printable } from "./table.ts";

const NAME_WIDTH = 16;
const REDRAW_MS = 120;
/** where standard output is no terminal and COLUMNS isn't set */
const DEFAULT_COLUMNS = 80;

export class Bar {
  readonly #name: string;
  readonly #total: number;
  readonly #started = Date.now();
  readonly #isQuiet: boolean;
  readonly #isLive: boolean;
  #done = 0;
  #timer: NodeJS.Timeout | undefined;
  #isDrawn = false;

  /** `total` in bytes. A quiet bar prints nothing. */
  constructor(name: string, total: number, isQuiet = false) {
    this.#name = name;
    this.#total = total;
    this.#isQuiet = isQuiet;
    this.#isLive = process.stdout.isTTY === true && !isQuiet;
    if (!this.#isLive) return;
    this.#draw();
    this.#timer = setInterval(() => this.#draw(), REDRAW_MS).unref();
  }

  /** Bytes more; negative where a request is sent again. */
  add(bytes: number): void {
    this.#done += bytes;
  }

  /** The last state, which stays. */
  finish(): void {
    clearInterval(this.#timer);
    if (this.#isLive) this.#draw();
    else if (!this.#isQuiet) process.stdout.write(`${this.#line()}\n`);
  }

  /** Takes the bar away: what it stood for has failed. */
  abort(): void {
    clearInterval(this.#timer);
    if (this.#isDrawn) process.stdout.write("\x1b[1A\x1b[J");
  }

  #draw(): void {
    process.stdout.write(`${this.#isDrawn ? "\x1b[1A\x1b[J" : ""}${this.#line()}\n`);
    this.#isDrawn = true;
  }

  #line(): string {
    const seconds = Math.floor((Date.now() - this.#started) / 1000);
    return barLine({ name: this.#name, done: this.#done, total: this.#total, seconds, columns: columns() });
  }
}

/** One state of a bar as a line, `columns` wide. */
export function barLine(bar: { name: string; done: number; total: number; seconds: number; columns: number }): string {
  const start = `${padEnd(cut(printable(bar.name)), NAME_WIDTH)} [`;
  const end = `] ${bytesText(bar.done)} / ${bytesText(bar.total)} | ${elapsed(bar.seconds)}`;
  const width = Math.max(1, bar.columns - NAME_WIDTH - 2 - end.length);
  const filled = bar.total === 0 ? 0 : Math.min(width, Math.round((bar.done / bar.total) * width));
  const tip = filled > 0 && filled < width ? `${"=".repeat(filled - 1)}>` : "=".repeat(filled);
  return start + tip + "-".repeat(width - filled) + end;
}

/** Shows ` ⠋ message` on standard error while `work` goes on and ` ✔ message` after it, where that is a terminal. */
export async function withMark<T>(message: string, isQuiet: boolean | undefined, work: () => Promise<T>): Promise<T> {
  if (isQuiet || !process.stderr.isTTY) return work();
  const started = Date.now();
  process.stderr.write(` ⠋ ${message} 0s`);
  try {
    const result = await work();
    process.stderr.write(`\r\x1b[K ✔ ${message} ${elapsed(Math.floor((Date.now() - started) / 1000))}\n`);
    return result;
  } catch (error) {
    process.stderr.write("\r\x1b[K");
    throw error;
  }
}

function columns(): number {
  return process.stdout.columns || Number(process.env.COLUMNS) || DEFAULT_COLUMNS;
}

/** Over 16 bytes: 15 of them, no character split, and an ellipsis. */
function cut(name: string): string {
  if (Buffer.byteLength(name) <= NAME_WIDTH) return name;
  let kept = "";
  for (const character of name) {
    if (Buffer.byteLength(kept + character) > NAME_WIDTH - 1) break;
    kept += character;
  }
  return `${kept}…`;
}

function bytesText(bytes: number): string {
  const units = ["b", "KiB", "MiB", "GiB", "TiB"];
  let power = 0;
  while (power < units.length - 1 && bytes >= 1024 ** (power + 1)) power++;
  return `${(bytes / 1024 ** power).toFixed(2)} ${units[power]}`;
}

/** `5s`, `1m5s`, `1h0m5s` */
function elapsed(seconds: number): string {
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return `${h > 0 ? `${h}h` : ""}${h > 0 || m > 0 ? `${m}m` : ""}${s}s`;
}
