/**
 * A large multipart object, uploaded and replicated, beside the same parts put into a bare bucket before and after; and
 * the memory that workerd takes for it.
 *
 * workerd is started anew right before, because memory that it once took for something else would hide what it takes for
 * this; then some ordinary traffic warms it up. Its growth is from there to its peak, and stands beside that of a workerd
 * which puts the parts into the bare bucket: the simulator's share is in both.
 */
import { Agent } from "node:http";
import { workerdsOf } from "../../src/local/processes.ts";
import type { Zones } from "../harness.ts";
import { bareCalls, randomBody } from "./calls.ts";
import { exchange, median, run, send } from "./load.ts";
import { forgetPeak, memoryOf } from "./process.ts";
import { BUCKETS, poll, Replication } from "./replication.ts";
import { type BenchOptions, type Figure, KIB, MIB } from "./report.ts";

export const LARGE = "Replication, large";
/** Parts on their way at once. */
const CLIENTS = 4;
const KEY = "large";
const POLL_MS = 20;

/** Milliseconds since the first byte. */
interface Times {
  completed: number;
  there: number;
}

export async function measureLarge(zones: Zones, { sizes, progress }: BenchOptions): Promise<Figure[]> {
  const { parts, partBytes } = sizes.large;
  const bytes = parts * partBytes;
  progress(`${LARGE}: ${nameSize(bytes)}`);
  const body = randomBody(partBytes);
  await startAnew(zones);
  const bareMemory = new MemoryWatch(zones);
  const bare = [await putBare(zones, body, parts)];
  bareMemory.note("bare BLOBS.put of its parts");
  const replication = await startAnew(zones);
  const memory = new MemoryWatch(zones);
  const times = await new Upload(replication, body, parts).send(() => memory.note("upload"));
  memory.note("replication");
  bare.push(await putBare(zones, body, parts));
  const inTurn = await putBare(zones, body, parts, 1);
  const name = nameSize(bytes);
  return [
    ...timeFigures(name, times, { together: median(bare), inTurn }),
    ...bareMemory.figures(name),
    ...memory.figures(name),
  ];
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
  const paths = Array.from({ length: parts }, (_, i) => `/blobs/${KEY}-${i}`);
  const { seconds } = await run(bareCalls(zones.endpoint("bare"), "PUT", paths, { body }), { clients });
  return seconds * 1000;
}

class Upload {
  readonly #replication: Replication;
  readonly #body: Buffer;
  readonly #parts: number;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: CLIENTS });
  readonly #path = `/${BUCKETS.source}/${KEY}`;

  constructor(replication: Replication, body: Buffer, parts: number) {
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
    const [head] = this.#replication.destination.head([`/${BUCKETS.destination}/${KEY}`]);
    await poll(POLL_MS, KEY, async () => {
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

function nameSize(bytes: number): string {
  return bytes % (1024 * MIB) === 0 ? `${bytes / 1024 / MIB} GiB` : `${bytes / MIB} MiB`;
}

function timeFigures(name: string, { completed, there }: Times, bare: { together: number; inTurn: number }): Figure[] {
  const figure = (subject: string, value: number, unit: Figure["unit"] = "s"): Figure => {
    return { line: LARGE, subject: `${name}, ${subject}`, value, unit };
  };
  return [
    figure(`bare BLOBS.put of its parts, ${CLIENTS} at once`, bare.together / 1000),
    figure("bare BLOBS.put of its parts, one after the other", bare.inTurn / 1000),
    figure("first byte to Complete's answer", completed / 1000),
    figure("Complete's answer to there", (there - completed) / 1000),
    figure("first byte to there", there / 1000),
    figure("Complete's answer to there, to bare BLOBS.put", (there - completed) / bare.together, "x"),
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
