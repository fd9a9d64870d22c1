/**
 * What is measured: an operation with a size and a number of clients is a line, and whoever does it is a subject of it,
 * we in each payload form and the bare Worker beside us. Here: PUT, GET and HEAD.
 *
 * Each PUT has a key of its own, for S3 keys are mostly written once. The bucket has versioning enabled, as one that is
 * replicated must.
 */
import type { Zones } from "../harness.ts";
import { bareCalls, FORMS, type Form, randomBody, S3Calls } from "./calls.ts";
import { type Call, run } from "./load.ts";
import { KIB, MIB, type Service } from "./report.ts";

export const SOURCE = "ch-dk-2";
export const BUCKET = "bench";

const BARE: Service[] = ["blobs", "d1"];

export interface Subject {
  name: string;
  /** of the bare Worker, which the others are compared with */
  bare?: Service;
  /** calls for one measurement */
  calls(): Call[] | Promise<Call[]>;
}

export interface Line {
  name: string;
  size: number;
  /** that one call is about; 1 by default */
  keys?: number;
  clients: number;
  /** calls start over when they are used up: reading does no harm */
  repeats: boolean;
  subjects: Subject[];
  /** makes what is going to be read, the first time */
  prepare?(): Promise<void>;
}

interface Shape {
  size: number;
  label: string;
  clients: number[];
  /** objects to be read */
  objects: number;
  forms: readonly Form[];
  /** PUTs that one client is thought to get done in a second, at most */
  perSecond: number;
}

const HASH = FORMS.slice(0, 1);
const SHAPES: Shape[] = [
  { size: KIB, label: "1 KiB", clients: [1, 16, 64], objects: 256, forms: FORMS, perSecond: 1500 },
  { size: 64 * KIB, label: "64 KiB", clients: [1, 16, 64], objects: 64, forms: HASH, perSecond: 400 },
  { size: MIB, label: "1 MiB", clients: [1, 16, 64], objects: 16, forms: FORMS, perSecond: 100 },
  { size: 64 * MIB, label: "64 MiB", clients: [1, 4], objects: 4, forms: FORMS.slice(0, 2), perSecond: 4 },
];
/** Calls a second that no number of clients gets beyond here. */
const MOST_PER_SECOND = 5000;

/** Lines of PUT, GET and HEAD in the order of their output. `seconds`: how long a measurement takes. */
export function makeLines(zones: Zones, seconds: number): Line[] {
  const maker = new LineMaker(zones, seconds);
  return [...SHAPES.flatMap((shape) => [...maker.puts(shape), ...maker.gets(shape)]), ...maker.heads(SHAPES[0]!)];
}

class LineMaker {
  readonly #s3: S3Calls;
  readonly #bare: string;
  readonly #seconds: number;
  readonly #prepared = new Map<number, Promise<void>>();
  #prefixes = 0;

  constructor(zones: Zones, seconds: number) {
    this.#s3 = new S3Calls(zones.endpoint(SOURCE), SOURCE, zones.organizations.main);
    this.#bare = zones.endpoint("bare");
    this.#seconds = seconds;
  }

  puts({ size, label, clients, forms, perSecond }: Shape): Line[] {
    const body = randomBody(size);
    return clients.map((count): Line => {
      const most = mostCalls(count, this.#seconds, perSecond);
      const ours = forms.map((form): Subject => {
        return { name: form, calls: () => this.#s3.put(this.#newPaths(BUCKET, most), body, form) };
      });
      const bare = servicesFor(size).map((service): Subject => {
        const calls = () => bareCalls(this.#bare, "PUT", this.#newPaths(service, most), { body, answers: 0 });
        return { name: service === "blobs" ? "bare BLOBS.put" : "bare D1 insert", bare: service, calls };
      });
      return { ...describeLine(`PUT ${label}`, count), size, repeats: false, subjects: [...ours, ...bare] };
    });
  }

  gets(shape: Shape): Line[] {
    const ours: Subject = { name: "GetObject", calls: () => this.#s3.get(readPaths(BUCKET, shape), shape.size) };
    const subjects = [ours, ...servicesFor(shape.size).map((service) => this.#bareGet(service, shape))];
    return this.#reads(`GET ${shape.label}`, shape, subjects, shape.size);
  }

  /** Beside the row that it takes to know of an object. */
  heads(shape: Shape): Line[] {
    const ours: Subject = { name: "HeadObject", calls: () => this.#s3.head(readPaths(BUCKET, shape)) };
    return this.#reads("HEAD", shape, [ours, this.#bareGet("d1", shape)], 0);
  }

  #reads(name: string, shape: Shape, subjects: Subject[], size: number): Line[] {
    return shape.clients.map((count) => {
      return { ...describeLine(name, count), size, repeats: true, subjects, prepare: () => this.#prepare(shape) };
    });
  }

  #bareGet(service: Service, shape: Shape): Subject {
    const calls = () => bareCalls(this.#bare, "GET", readPaths(service, shape), { answers: shape.size });
    return { name: service === "blobs" ? "bare BLOBS.get" : "bare D1 select", bare: service, calls };
  }

  #prepare(shape: Shape): Promise<void> {
    const prepared = this.#prepared.get(shape.size) ?? this.#writeObjects(shape);
    this.#prepared.set(shape.size, prepared);
    return prepared;
  }

  async #writeObjects(shape: Shape): Promise<void> {
    const body = randomBody(shape.size);
    const load = { clients: Math.min(shape.objects, 16) };
    await run(this.#s3.put(readPaths(BUCKET, shape), body), load);
    for (const service of servicesFor(shape.size)) {
      await run(bareCalls(this.#bare, "PUT", readPaths(service, shape), { body }), load);
    }
  }

  #newPaths(place: string, count: number): string[] {
    const prefix = `/${place}/put-${++this.#prefixes}`;
    return Array.from({ length: count }, (_, i) => `${prefix}-${i}`);
  }
}

/** Calls to be made ready for a measurement that must not run out of them. */
export function mostCalls(clients: number, seconds: number, perSecond: number): number {
  return Math.ceil(Math.min(perSecond * clients, MOST_PER_SECOND) * seconds) + 2 * clients;
}

/** A row of a database holds no more than what we keep inline. */
function servicesFor(size: number): Service[] {
  return size <= 8 * KIB ? BARE : BARE.slice(0, 1);
}

function readPaths(place: string, { size, objects }: Shape): string[] {
  return Array.from({ length: objects }, (_, i) => `/${place}/get-${size}-${i}`);
}

export function describeLine(name: string, clients: number): Pick<Line, "name" | "clients"> {
  return { name: `${name}, ${clients} ${clients === 1 ? "client" : "clients"}`, clients };
}
