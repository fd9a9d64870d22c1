/**
 * A large multipart object, uploaded and replicated, and the memory that workerd takes for it. Beside it stand, in each
 * round, the same parts put into a bare bucket by a client, which is what the aim compares with (its platform's time to
 * write the object, though it comes over HTTP); and a bare Worker that reads them there and puts them into the other
 * zone's R2, which is the least that any replication must do.
 *
 * workerd is started anew right before, because memory that it once took for something else would hide what it takes for
 * this; then some ordinary traffic warms it up. Its growth is from there to its peak, and stands beside that of a workerd
 * which puts the parts into the bare bucket: the simulator's share is in both.
 */
import { Agent } from "node:http";
import { workerdsOf } from "../../src/local/processes.ts";
import type { Zones } from "../harness.ts";
import type { Transfer } from "./bare.ts";
import { bareCalls, randomBody } from "./calls.ts";
import { exchange, median, run, send } from "./load.ts";
import { inTurn } from "./measure.ts";
import { forgetPeak, memoryOf } from "./process.ts";
import { BUCKETS, DESTINATION, poll, Replication } from "./replication.ts";
import { type BenchOptions, type Figure, KIB, MIB } from "./report.ts";

export const LARGE = "Replication, large";
/** Parts on their way at once. */
const CLIENTS = 4;
const KEY = "large";
const BARE = `bare BLOBS.put of its parts, ${CLIENTS} at once`;
const CARRIED = "bare Worker, its parts from R2 to the other zone's R2";
const POLL_MS = 20;

/** Milliseconds since the first byte. */
interface Times {
  completed: number;
  there: number;
}

/** Round by round; milliseconds. */
interface Rounds {
  bare: number[];
  carried: number[];
  ours: Times[];
}

export async function measureLarge(zones: Zones, { rounds, sizes, progress }: BenchOptions): Promise<Figure[]> {
  const { parts, partBytes } = sizes.large;
  const name = nameSize(parts * partBytes);
  const body = randomBody(partBytes);
  const measured: Rounds = { bare: [], carried: [], ours: [] };
  const bare = async () => measured.bare.push(await putBare(zones, body, parts));
  const carried = async () => measured.carried.push(await carryBare(zones, parts));
  progress(`${LARGE}: ${name}, round 1 of ${rounds}`);
  await startAnew(zones);
  const bareMemory = new MemoryWatch(zones);
  await bare();
  bareMemory.note("bare BLOBS.put of its parts");
  const replication = await startAnew(zones);
  const memory = new MemoryWatch(zones);
  const ours = async (told: (what: string) => void = () => {}) => {
    measured.ours.push(await new Upload(replication, body, parts, measured.ours.length).send(() => told("upload")));
    told("replication");
  };
  await ours((what) => memory.note(what));
  await carried();
  for (let round = 2; round <= rounds; round++) {
    progress(`${LARGE}: ${name}, round ${round} of ${rounds}`);
    for (const subject of inTurn([bare, () => ours(), carried], round)) await subject();
  }
  const inTurnMs = await putBare(zones, body, parts, 1);
  return [...timeFigures(name, measured, inTurnMs), ...bareMemory.figures(name), ...memory.figures(name)];
}

async function startAnew(zones: Zones): Promise<Replication> {
  await zones.restart();
  const replication = await Replication.open(zones);
  await replication.burst(200);
  await replication.burst(20, 64 * KIB);
  return replication;
}

/** Milliseconds. */
async function putBare(zones: Zones, body: Buffer, parts: number, clients = CLIENTS): Promise<number> {
  const paths = partKeys(parts).map((key) => `/blobs/${key}`);
  const { seconds } = await run(bareCalls(zones.endpoint("bare"), "PUT", paths, { body }), { clients });
  return seconds * 1000;
}

/** Milliseconds. */
async function carryBare(zones: Zones, parts: number): Promise<number> {
  const transfer: Transfer = { keys: partKeys(parts), zone: DESTINATION };
  const body = Buffer.from(JSON.stringify(transfer));
  const { seconds } = await run(bareCalls(zones.endpoint("bare"), "POST", ["/carry"], { body }), { clients: 1 });
  return seconds * 1000;
}

function partKeys(parts: number): string[] {
  return Array.from({ length: parts }, (_, i) => `${KEY}-${i}`);
}

class Upload {
  readonly #replication: Replication;
  readonly #body: Buffer;
  readonly #parts: number;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: CLIENTS });
  readonly #key: string;
  readonly #path: string;

  constructor(replication: Replication, body: Buffer, parts: number, round: number) {
    this.#key = `${KEY}-${round}`;
    this.#path = `/${BUCKETS.source}/${this.#key}`;
    this.#replication = replication;
    this.#body = body;
    this.#parts = parts;
  }

  async send(completed: () => void): Promise<Times> {
    const { source } = this.#replication;
    const created = await send(this.#agent, source.post(this.#path, { uploads: "" }));
    const uploadId = textOf(created.text, "UploadId");
    const start = performance.now();
    const etags = await this.#sendParts(uploadId);
    const elements = etags.map((etag, i) => `<Part><PartNumber>${i + 1}</PartNumber><ETag>${etag}</ETag></Part>`);
    const document = `<CompleteMultipartUpload>${elements.join("")}</CompleteMultipartUpload>`;
    await send(this.#agent, source.post(this.#path, { uploadId }, document));
    const times = { completed: performance.now() - start, there: 0 };
    completed();
    await this.#untilThere();
    times.there = performance.now() - start;
    this.#agent.destroy();
    return times;
  }

  async #sendParts(uploadId: string): Promise<string[]> {
    const etags: string[] = [];
    const numbers = Array.from({ length: this.#parts }, (_, i) => i + 1).values();
    const lane = async () => {
      for (const number of numbers) {
        const call = this.#replication.source.uploadPart(this.#path, uploadId, number, this.#body);
        etags[number - 1] = (await send(this.#agent, call)).headers.etag!;
      }
    };
    await Promise.all(Array.from({ length: CLIENTS }, lane));
    return etags;
  }

  async #untilThere(): Promise<void> {
    const [head] = this.#replication.destination.head([`/${BUCKETS.destination}/${this.#key}`]);
    await poll(POLL_MS, this.#key, async () => {
      const { status, headers } = await exchange(this.#agent, head!);
      if (status === 404) return false;
      if (status === 200 && Number(headers["content-length"]) === this.#parts * this.#body.length) return true;
      throw new Error(`HEAD ${head!.path} was answered ${status} with content-length ${headers["content-length"]}`);
    });
  }
}

function textOf(xml: string, name: string): string {
  return xml.split(`<${name}>`)[1]!.split("<")[0]!;
}

export function nameSize(bytes: number): string {
  return bytes % (1024 * MIB) === 0 ? `${bytes / 1024 / MIB} GiB` : `${bytes / MIB} MiB`;
}

function timeFigures(name: string, { bare, carried, ours }: Rounds, inTurnMs: number): Figure[] {
  const figure = (subject: string, value: number, unit: Figure["unit"] = "s"): Figure => {
    return { line: LARGE, subject: `${name}, ${subject}`, value, unit };
  };
  const seconds = (subject: string, times: number[]) => figure(subject, median(times) / 1000);
  const replicated = ours.map(({ completed, there }) => there - completed);
  const ratio = (subject: string, to: number[]) => {
    const ratios = replicated.map((time, round) => time / to[round]!);
    return figure(`Complete's answer to there, to ${subject}`, median(ratios), "x");
  };
  return [
    seconds(BARE, bare),
    figure("bare BLOBS.put of its parts, one after the other", inTurnMs / 1000),
    seconds(CARRIED, carried),
    seconds(
      "first byte to Complete's answer",
      ours.map(({ completed }) => completed),
    ),
    seconds("Complete's answer to there", replicated),
    seconds(
      "first byte to there",
      ours.map(({ there }) => there),
    ),
    ratio(BARE, bare),
    ratio(CARRIED, carried),
  ];
}

/** Growth of workerd's memory; gives nothing where the system doesn't tell. */
class MemoryWatch {
  readonly #pid: number | undefined;
  readonly #peaks: { what: string; bytes: number }[] = [];
  readonly #before: number;

  constructor(zones: Zones) {
    [this.#pid] = workerdsOf(zones.stateDir);
    forgetPeak(this.#pid);
    this.#before = memoryOf(this.#pid)?.resident ?? Number.NaN;
  }

  /** What has been done since the last note, or the start. */
  note(what: string): void {
    const memory = memoryOf(this.#pid);
    if (memory) this.#peaks.push({ what, bytes: memory.peak });
    forgetPeak(this.#pid);
  }

  figures(name: string): Figure[] {
    if (this.#peaks.length === 0) return [];
    const what = this.#peaks.map((peak) => peak.what).join(" and ");
    const growth = Math.max(...this.#peaks.map(({ bytes }) => bytes)) - this.#before;
    const figure = (subject: string, bytes: number): Figure => {
      return { line: LARGE, subject: `${name}, workerd's memory, ${subject}`, value: bytes / MIB, unit: "MiB" };
    };
    return [
      ...this.#peaks.map((peak) => figure(`peak in ${peak.what}`, peak.bytes)),
      figure(`growth by ${what}`, growth),
    ];
  }
}
