/**
 * What is measured: an operation with a size and a number of clients is a line, and whoever does it is a subject of it,
 * we in each payload form and the bare Worker beside us.
 *
 * Each PUT has a key of its own, for S3 keys are mostly written once. The bucket has versioning enabled, as one that is
 * replicated must.
 */
import type { Zones } from "../harness.ts";
import { bareCalls, FORMS, type Form, randomBody, S3Calls } from "./calls.ts";
import { type Call, run } from "./load.ts";

export const KIB = 1024;
export const MIB = 1024 * KIB;
export const SOURCE = "ch-dk-2";
export const BUCKET = "bench";

/** What the bare Worker does. */
const BARE = ["blobs", "d1"] as const;
export type Service = (typeof BARE)[number];

export interface Subject {
  name: string;
  /** of the bare Worker, which the others are compared with */
  bare?: Service;
  /** calls for one measurement */
  calls(): Promise<Call[]>;
}

export interface Line {
  name: string;
  size: number;
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
  /** all payload forms, or the signed hash alone */
  forms: readonly Form[];
  /** PUTs that one client is thought to get done in a second, at most */
  perSecond: number;
}

const HASH = FORMS.slice(0, 1);
const SHAPES: Shape[] = [
  { size: KIB, label: "1 KiB", clients: [1, 16, 64], objects: 256, forms: FORMS, perSecond: 1500 },
  { size: 64 * KIB, label: "64 KiB", clients: [1, 16], objects: 64, forms: HASH, perSecond: 400 },
  { size: MIB, label: "1 MiB", clients: [1, 16], objects: 16, forms: FORMS, perSecond: 100 },
  { size: 64 * MIB, label: "64 MiB", clients: [1, 4], objects: 4, forms: HASH, perSecond: 4 },
];
/** Calls a second that no number of clients gets beyond here. */
const MOST_PER_SECOND = 5000;

/** Lines of PUT and GET in the order of their output. `seconds`: how long a measurement takes. */
export function makeLines(zones: Zones, seconds: number): Line[] {
  const maker = new LineMaker(zones, seconds);
  return SHAPES.flatMap((shape) => [...maker.puts(shape), ...maker.gets(shape)]);
}

class LineMaker {
  readonly #s3: S3Calls;
  readonly #bare: string;
  readonly #seconds: number;
  #prefixes = 0;

  constructor(zones: Zones, seconds: number) {
    this.#s3 = new S3Calls(zones.endpoint(SOURCE), SOURCE, zones.organizations.main);
    this.#bare = zones.endpoint("bare");
    this.#seconds = seconds;
  }

  puts({ size, label, clients, forms, perSecond }: Shape): Line[] {
    const body = randomBody(size);
    return clients.map((count): Line => {
      const most = Math.ceil(Math.min(perSecond * count, MOST_PER_SECOND) * this.#seconds) + 2 * count;
      const ours = forms.map((form): Subject => {
        return { name: form, calls: () => this.#s3.put(this.#newPaths(BUCKET, most), body, form) };
      });
      const bare = BARE.filter((service) => isMeasured(service, size)).map((service): Subject => {
        const calls = async () => bareCalls(this.#bare, this.#newPaths(service, most), body);
        return { name: service === "blobs" ? "bare BLOBS.put" : "bare D1 insert", bare: service, calls };
      });
      return { ...describeLine("PUT", label, count), size, repeats: false, subjects: [...ours, ...bare] };
    });
  }

  gets({ size, label, clients, objects }: Shape): Line[] {
    const paths = (place: string) => Array.from({ length: objects }, (_, i) => `/${place}/get-${size}-${i}`);
    const services = BARE.filter((service) => isMeasured(service, size));
    const ours: Subject = { name: "GetObject", calls: () => this.#s3.get(paths(BUCKET), size) };
    const bare = services.map((service): Subject => {
      const calls = async () => bareCalls(this.#bare, paths(service), undefined, size);
      return { name: service === "blobs" ? "bare BLOBS.get" : "bare D1 select", bare: service, calls };
    });
    let prepared: Promise<void> | undefined;
    const make = async () => {
      const body = randomBody(size);
      const load = { clients: Math.min(objects, 16) };
      await run(await this.#s3.put(paths(BUCKET), body, "signed hash"), load);
      for (const service of services) await run(bareCalls(this.#bare, paths(service), body), load);
    };
    const prepare = () => {
      prepared ??= make();
      return prepared;
    };
    return clients.map((count): Line => {
      return { ...describeLine("GET", label, count), size, repeats: true, subjects: [ours, ...bare], prepare };
    });
  }

  #newPaths(place: string, count: number): string[] {
    const prefix = `/${place}/put-${++this.#prefixes}`;
    return Array.from({ length: count }, (_, i) => `${prefix}-${i}`);
  }
}

/** A row of a database holds no more than what we keep inline. */
function isMeasured(service: Service, size: number): boolean {
  return service === "blobs" || size <= 8 * KIB;
}

function describeLine(method: string, label: string, clients: number): Pick<Line, "name" | "clients"> {
  return { name: `${method} ${label}, ${clients} ${clients === 1 ? "client" : "clients"}`, clients };
}
