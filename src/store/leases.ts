/**
 * Who drains a link from a slot, and whether it has been woken: kept in the memory of the slot's Sequencer. What is lost
 * with it costs a second drain or a wake-up too many, which are harmless.
 */

/** A drain that doesn't renew its lease on a link for this long has lost it. */
const LEASE_MS = 45_000;
/** A wake-up that nobody followed in this time was lost. */
const WAKE_MS = 5000;

interface Lease {
  holder: string;
  /** milliseconds */
  until: number;
  /** something came meanwhile, which the holder may not have seen */
  isWoken: boolean;
}

export class Leases {
  readonly #leases = new Map<number, Lease>();
  readonly #wokenAt = new Map<number, number>();

  /** False if somebody else has it, who is then told on letting go. */
  acquire(linkId: number, holder: string): boolean {
    this.#wokenAt.delete(linkId);
    const lease = this.#running(linkId);
    if (lease) {
      lease.isWoken = true;
      return false;
    }
    this.#leases.set(linkId, { holder, until: Date.now() + LEASE_MS, isWoken: false });
    return true;
  }

  renew(linkId: number, holder: string): void {
    const lease = this.#leases.get(linkId);
    if (lease?.holder === holder) lease.until = Date.now() + LEASE_MS;
  }

  /** True if something came since. Of a lease that is somebody else's by now, nothing. */
  release(linkId: number, holder: string): boolean {
    const lease = this.#leases.get(linkId);
    if (lease?.holder !== holder) return false;
    this.#leases.delete(linkId);
    return lease.isWoken;
  }

  /** Whether a message has to be sent to wake a link: not while a drain is under way, which looks again before it ends. */
  wake(linkId: number): boolean {
    const lease = this.#running(linkId);
    if (lease) {
      lease.isWoken = true;
      return false;
    }
    if (Date.now() - (this.#wokenAt.get(linkId) ?? 0) <= WAKE_MS) return false;
    this.#wokenAt.set(linkId, Date.now());
    return true;
  }

  #running(linkId: number): Lease | undefined {
    const lease = this.#leases.get(linkId);
    return lease && lease.until > Date.now() ? lease : undefined;
  }
}
