/**
 * Which faults there are, and when one strikes: a stream of decisions for each bucket and kind of fault, from a seed.
 * The n-th occasion of a kind on a bucket is decided alike in every run of the seed; which operation that occasion falls
 * to is up to the run.
 */
import { Random } from "./random.ts";

export const FAULTS = [
  /** the Durable Object ends before D1 has seen its batch, or after D1 has committed it */
  "end-before",
  "end-after",
  /** D1 fails a batch before it committed, or after */
  "d1-before",
  "d1-after",
  /** a batch is cut off with its Durable Object and lands later: before or after the next one, or at the very end */
  "late",
  /** D1 fails any other statement or batch, of the Sequencer, the Worker or a drain: before it was run, or after */
  "index-before",
  "index-after",
  /** R2 fails a put before it stored the bytes, or after; or a get; or a delete of the sweep */
  "r2-before",
  "r2-after",
  "r2-get",
  "r2-delete",
  /** the other zone answers 500, doing nothing, or having done all */
  "peer-500",
  "peer-500-after",
  /** it takes its time before, or after it has done what it was asked */
  "peer-slow",
  "peer-slow-after",
  /** bodies break off half way */
  "peer-cut-request",
  "peer-cut-answer",
  /** a request arrives a second time, later */
  "peer-repeat",
  /** the zone is away for a while, for the other zone and for clients behind it */
  "zone-cut",
  "queue-lost",
  "queue-doubled",
  "queue-delayed",
  "queue-reordered",
  /** the slot's clock is set back or ahead by up to six minutes */
  "clock-back",
  "clock-ahead",
  /** another instance of the slot gets the operation */
  "twin",
] as const;

export type Fault = (typeof FAULTS)[number];

/** Of each fault how likely it strikes on an occasion, 0 to 1. */
export type Rates = Partial<Record<Fault, number>>;

export interface Statement {
  sql: string;
  binds: unknown[];
}

/** What came of the faults of one bucket. */
export interface Struck {
  /** how often each struck */
  counts: Partial<Record<Fault, number>>;
  /** batches cut off that landed later, how many of those changed something, and how many D1 refused */
  landed: number;
  changing: number;
  refused: number;
}

/** What stands against one bucket. */
export class Faults {
  readonly bucketId: number;
  readonly struck: Struck = { counts: {}, landed: 0, changing: 0, refused: 0 };
  /** batches that are cut off and haven't landed yet */
  readonly late: Statement[][] = [];
  /** a message of the queue that waits for the next one to overtake it */
  held: unknown;
  /** requests that are still to arrive a second time */
  repeating = 0;
  /** milliseconds that the slots' clock is ahead */
  offset = 0;
  /** the zone is away until then (milliseconds) */
  cutUntil = 0;
  readonly #rates: Rates;
  readonly #streams: Map<Fault, Random>;
  /** apart, so that an amount that is drawn once more doesn't change what strikes */
  readonly #amounts: Map<Fault, Random>;
  #isOff = false;

  constructor(bucketId: number, seed: string, rates: Rates) {
    this.bucketId = bucketId;
    this.#rates = rates;
    this.#streams = new Map(FAULTS.map((fault) => [fault, new Random(seed, fault)]));
    this.#amounts = new Map(FAULTS.map((fault) => [fault, new Random(seed, fault, "amount")]));
  }

  /** Decides an occasion, and counts it if it strikes. */
  strikes(fault: Fault): boolean {
    if (this.#isOff || !this.#streams.get(fault)!.chance(this.#rates[fault] ?? 0)) return false;
    const { counts } = this.struck;
    counts[fault] = (counts[fault] ?? 0) + 1;
    return true;
  }

  /** How much of something that struck: from 0 to 1. */
  amount(fault: Fault): number {
    return this.#amounts.get(fault)!.next();
  }

  /** Nothing strikes any more, the zone is back; the clock stays as it is. */
  end(): void {
    this.#isOff = true;
    this.cutUntil = 0;
    this.held = undefined;
  }
}
