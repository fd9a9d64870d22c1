/**
 * What Workers print, on its way to the terminal: their log, JSON lines of operations and of events like a sweep, goes to
 * standard output; errors, and whatever else they print, go to standard error. Either as it comes, or laid out for people.
 *
 * Miniflare hands everything over by one function, without the Worker's name, so a log line is known by its fields.
 * A line for people leaves out organization and access key; nothing is shortened: a long name only moves what follows.
 */
import { styleText } from "node:util";

export type LogFormat = "pretty" | "json";

/** What Miniflare gives for each thing printed. */
export interface Printed {
  level: string;
  message: string;
}

/** A line of a zone's log; an operation's has id and status, an event's its name. */
interface LogLine {
  /** ISO 8601 */
  time: string;
  zone: string;
  [field: string]: unknown;
}

interface OperationLine extends LogLine {
  /** x-amz-request-id */
  id: string;
  /** undefined where the request was none that there is */
  operation?: string;
  status: number;
  /** S3's error code */
  code?: string;
  /** number of the bucket */
  bucket?: number;
  bytes?: number;
  ms?: number;
  /** calls over bindings */
  trips?: number;
  /** of the bucket, and the key: only if they were asked for */
  name?: string;
  key?: string;
  /** came from another zone, or was passed on to one */
  isForwarded?: true;
  forwardedTo?: string;
}

/** What workerd says of every connection that a zone drops. */
const DROPPED = "HTTP connection failed: the handler sent no response";
const STATUS_WIDTH = "503 ServiceUnavailable".length;
const OPERATION_WIDTH = "CompleteMultipartUpload".length;

export class Output {
  readonly #format: LogFormat;
  #zoneWidth = 0;
  #held: string[] | undefined;
  /** somebody wants to see the log */
  readonly #isAsked: boolean;
  #expectsDrops = false;

  /** With `isHeld`, the log waits for `release`: nothing is to stand before what the server says of itself. */
  constructor(format: LogFormat, { isHeld = false } = {}) {
    this.#format = format;
    this.#held = isHeld ? [] : undefined;
    this.#isAsked = isHeld;
  }

  print({ level, message }: Printed): void {
    const line = readLine(message);
    const text = line && this.#format === "pretty" ? layOut(line, level, this.#zoneWidth) : message;
    if (line && level !== "error") this.#log(text);
    else if (!(this.#expectsDrops && message.startsWith(DROPPED))) complain(text, level);
  }

  /** Those whose names have to fit in one column. */
  expectZones(names: string[]): void {
    this.#zoneWidth = Math.max(...names.map((name) => name.length));
  }

  /** That somebody cut a zone off or healed it: among the lines of the zones, if those are shown. */
  tellTurn(zone: string, cut: string): void {
    if (!this.#isAsked) return;
    const line = { time: new Date().toISOString(), zone, event: cut === "none" ? "healed" : "cut off", from: cut };
    this.print({ level: "log", message: JSON.stringify(line) });
  }

  /** From now on a dropped connection isn't worth a word. What workerd says of one may come when the zone is healed. */
  expectDrops(): void {
    this.#expectsDrops = true;
  }

  release(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const text of held) console.log(text);
  }

  #log(text: string): void {
    if (this.#held) this.#held.push(text);
    else console.log(text);
  }
}

function complain(text: string, level: string): void {
  console.error(level === "error" ? styleText("red", text, { stream: process.stderr }) : text);
}

/** The message as a line of a zone's log; undefined if it is something else. */
function readLine(message: string): LogLine | undefined {
  if (!message.startsWith("{")) return undefined;
  try {
    const line = JSON.parse(message) as LogLine;
    return typeof line.time === "string" && typeof line.zone === "string" ? line : undefined;
  } catch {
    return undefined;
  }
}

/** For people: columns aligned, coloured where standard output is a terminal. An error's stack follows on lines of its own. */
function layOut(line: LogLine, level: string, zoneWidth: number): string {
  const head = [line.time.slice(11, 23), line.zone.padEnd(zoneWidth)];
  if (level === "error") return [...head, errorText(line)].join("  ");
  const rest = isOperation(line) ? operationColumns(line) : eventColumns(line);
  return [paint("dim", head[0]!), head[1]!, ...rest].join("  ").trimEnd();
}

function isOperation(line: LogLine): line is OperationLine {
  return typeof line.id === "string" && typeof line.status === "number";
}

function operationColumns(line: OperationLine): string[] {
  const { operation = "-", status, code = "", bytes, ms, trips, bucket, id } = line;
  const colour = status < 400 ? "green" : status < 500 ? "yellow" : "red";
  return [
    operation.padEnd(OPERATION_WIDTH),
    paint(colour, `${status} ${code}`.padEnd(STATUS_WIDTH)),
    unit(bytes, "B", 10),
    unit(ms, "ms", 6),
    unit(trips, trips === 1 ? "trip " : "trips", 2),
    `bucket ${bucket ?? "-"}`.padEnd("bucket 123".length),
    paint("dim", id),
    ...passage(line),
    ...names(line),
  ];
}

function unit(value: number | undefined, name: string, width: number): string {
  return `${String(value ?? "-").padStart(width)} ${name}`;
}

function passage({ forwardedTo, isForwarded }: OperationLine): string[] {
  return [...(forwardedTo ? [`to ${forwardedTo}`] : []), ...(isForwarded ? ["forwarded"] : [])];
}

/** A key may hold what a terminal would obey: JSON writes most of that out, and the rest is done here. */
function names({ name, key }: OperationLine): string[] {
  return [name, key].filter((value) => value !== undefined).map(asText);
}

function eventColumns({ time: _time, zone: _zone, event, ...fields }: LogLine): string[] {
  const told = Object.entries(fields).map(([name, value]) => `${name} ${asText(value)}`);
  return [String(event ?? "-").padEnd(OPERATION_WIDTH), ...told];
}

function errorText({ time: _time, zone: _zone, level: _level, message, error, ...fields }: LogLine): string {
  const told = Object.entries(fields).map(([name, value]) => `${name} ${asText(value)}`);
  return plain(`${[message, ...told].join("  ")}\n${error}`);
}

/** A stack may quote a key, which may hold what a terminal would obey. */
function plain(text: string): string {
  return text.replace(/(?!\n)\p{Cc}/gu, "\ufffd");
}

function asText(value: unknown): string {
  const text = JSON.stringify(value) ?? "-";
  return text.replace(/[\u007f-\u009f]/g, (c) => `\\u00${c.charCodeAt(0).toString(16)}`);
}

function paint(colour: "dim" | "green" | "yellow" | "red", text: string): string {
  return styleText(colour, text, { stream: process.stdout });
}
