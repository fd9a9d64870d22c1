/**
 * Version ids, and the clock that gives them.
 *
 * An id is a 63-bit integer, `milliseconds (43 bits) | tick (14 bits) | zone number (6 bits)`, written as 19 decimal
 * digits: the real `exo` accepts only decimal ids, and text order is number order. Computed with BigInt, kept as text:
 * JavaScript numbers and D1 round past 2^53.
 *
 * The clock is a hybrid logical clock (Kulkarni et al. 2014): a new id is greater than every id given or observed,
 * even where the wall clock went back. The tick steps by a random 1-255, because two buckets of one zone share its
 * number and ids of theirs must not meet.
 */
const TICK_BITS = 14n;
const ZONE_BITS = 6n;
const TICKS = 1 << 14;

/** How far ahead of the wall clock a received id may be before it is refused: a zone with a fast clock wins by at most that. */
export const MAX_SKEW_MS = 15 * 60 * 1000;

/** 19 digits, zero-padded, of an id. */
export function formatVersionId(milliseconds: number, tick: number, zoneNumber: number): string {
  const id = (((BigInt(milliseconds) << TICK_BITS) | BigInt(tick)) << ZONE_BITS) | BigInt(zoneNumber);
  return id.toString().padStart(19, "0");
}

/** Whether text can be a version id at all: 19 digits within 63 bits. */
export function isVersionId(text: string): boolean {
  return /^[0-9]{19}$/.test(text) && BigInt(text) < 1n << 63n;
}

/** Milliseconds since the epoch of an id. */
export function millisecondsOf(versionId: string): number {
  return Number(BigInt(versionId) >> (TICK_BITS + ZONE_BITS));
}

function tickOf(versionId: string): number {
  return Number((BigInt(versionId) >> ZONE_BITS) & BigInt(TICKS - 1));
}

/** An id smaller than every one given at `milliseconds` or later. */
export function floorOf(milliseconds: number): string {
  return formatVersionId(milliseconds, 0, 0);
}

export interface ClockOptions {
  zoneNumber: number;
  /** no id of this clock is below this many milliseconds: the bound that an earlier instance had reserved */
  reservedUntil: number;
  now?: () => number;
  random?: () => number;
}

export class Clock {
  readonly #zoneNumber: number;
  readonly #now: () => number;
  readonly #random: () => number;
  #milliseconds: number;
  #tick = 0;

  constructor(options: ClockOptions) {
    this.#zoneNumber = options.zoneNumber;
    this.#milliseconds = options.reservedUntil;
    // Called anew each time, so that a clock replaced under it is seen.
    this.#now = options.now ?? (() => Date.now());
    this.#random = options.random ?? Math.random;
  }

  /** The greatest id's milliseconds so far. */
  get milliseconds(): number {
    return this.#milliseconds;
  }

  /** A new id, greater than all before. */
  next(): string {
    const now = this.#now();
    if (now > this.#milliseconds) {
      this.#milliseconds = now;
      // The lower half, so that a millisecond has room for some sixty steps before it carries.
      this.#tick = Math.floor(this.#random() * (TICKS / 2));
    } else {
      this.#step();
    }
    return formatVersionId(this.#milliseconds, this.#tick, this.#zoneNumber);
  }

  /** Makes every later id greater than `versionId`. */
  observe(versionId: string): void {
    const milliseconds = millisecondsOf(versionId);
    if (milliseconds < this.#milliseconds) return;
    const tick = tickOf(versionId);
    if (milliseconds > this.#milliseconds || tick > this.#tick) {
      this.#milliseconds = milliseconds;
      this.#tick = tick;
    }
  }

  #step(): void {
    this.#tick += 1 + Math.floor(this.#random() * 255);
    if (this.#tick < TICKS) return;
    this.#tick -= TICKS;
    this.#milliseconds += 1;
  }
}
