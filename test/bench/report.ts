/** What a run comes to. Times are milliseconds unless a unit says otherwise, sizes bytes. */
import type { Units } from "./units.ts";

/** What the bare Worker does. */
export type Service = "blobs" | "d1";

/** Of one subject of a line; all figures are medians of the rounds. */
export interface Result {
  line: string;
  subject: string;
  isBare: boolean;
  clients: number;
  /** bytes of a body */
  size: number;
  /** keys that one request is about */
  keys: number;
  requestsPerSecond: number;
  bytesPerSecond: number;
  p50: number;
  p99: number;
  /** milliseconds of workerd's CPU that a request took */
  cpu?: number;
  /** requests a second, divided by the bare Worker's in the same round */
  ratios: Partial<Record<Service, number>>;
}

/** A listing's page in one mix of keys; medians of the rounds. */
export interface Page {
  line: string;
  subject: string;
  /** of a page, or of all pages up to the first key */
  p50: number;
  p99: number;
  cpu?: number;
  /** D1 rows read for each key examined */
  rowsPerKey: number;
  /** p50, divided by that of the page at 1,000 keys in the same round */
  ratio: number;
}

export interface Figure {
  line: string;
  subject: string;
  value: number;
  unit: "ms" | "s" | "/s" | "x" | "MiB" | "";
}

/** An operation's billed units, each a mean over many. */
export interface Cost {
  line: string;
  subject: string;
  units: Units;
  /** dollars of a million */
  dollars: number;
  /** the same at AWS's list price */
  aws: number;
}

export interface Report {
  results: Result[];
  pages: Page[];
  figures: Figure[];
  costs: Cost[];
}

export interface BenchOptions {
  rounds: number;
  /** of one measurement */
  seconds: number;
  /** lines whose name it matches; undefined: all */
  only?: RegExp;
  sizes: Sizes;
  /** told of each step */
  progress(text: string): void;
}

/** How much of everything. */
export interface Sizes {
  listing: { few: number; many: number; versioned: number; versions: number; deleteMarkers: number; prefixes: number };
  /** objects of each backlog */
  backlogs: number[];
  /** objects a second, of which the lag is measured */
  lagsPerSecond: number[];
  /** objects written at once with replication on */
  burst: number;
  cut: { seconds: number; perSecond: number };
  /** a multipart object */
  large: { parts: number; partBytes: number };
  /** operations whose units are counted at one client, and at 64 */
  cost: { alone: number; together: number };
}

export const KIB = 1024;
export const MIB = 1024 * KIB;

export const FULL: Sizes = {
  listing: { few: 1000, many: 100_000, versioned: 10_000, versions: 100, deleteMarkers: 200_000, prefixes: 1000 },
  backlogs: [2000, 10_000],
  lagsPerSecond: [20, 50],
  burst: 2000,
  cut: { seconds: 30, perSecond: 50 },
  large: { parts: 16, partBytes: 64 * MIB },
  cost: { alone: 50, together: 1280 },
};

export const QUICK: Sizes = {
  ...FULL,
  listing: { ...FULL.listing, versioned: 2000 },
  backlogs: [2000],
  cut: { seconds: 5, perSecond: 50 },
  large: { parts: 4, partBytes: 64 * MIB },
};
