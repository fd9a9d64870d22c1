/**
 * What one isolate remembers of the control database.
 *
 * A value is fresh for `ttl`; an absent one (undefined) for `absentTtl`, where 0 means that absence is never
 * remembered. When loading fails, and only then, a value up to `staleFor` old is used: a zone goes on serving while
 * the control database is away, and a revocation waits that long. Loads in flight are not shared: workerd ends a
 * request that waits for another request's promise.
 */
export interface CacheTimes {
  /** milliseconds that a value is used without asking again */
  ttl: number;
  /** milliseconds that an absence is remembered */
  absentTtl: number;
  /** milliseconds, counted from the load, that a value may stand in for a failing load */
  staleFor: number;
}

interface Entry<T> {
  value: T | undefined;
  loadedAt: number;
}

/** Entries kept; the oldest loaded goes first. */
const CAPACITY = 10_000;
/** Absences kept: apart, so that asking for what isn't there pushes out nothing that is. */
const ABSENT_CAPACITY = 1000;

export class Cache<T> {
  readonly #entries = new Map<string, Entry<T>>();
  readonly #absences = new Map<string, Entry<T>>();
  readonly #times: CacheTimes;

  constructor(times: CacheTimes) {
    this.#times = times;
  }

  /** The value under `key`, or undefined if there is none. Throws what `load` throws if nothing stands in. */
  async get(key: string, load: () => Promise<T | undefined>, { fresh = false } = {}): Promise<T | undefined> {
    const entry = this.#entries.get(key) ?? this.#absences.get(key);
    if (entry && !fresh && isWithin(this.#ttlOf(entry), entry)) return entry.value;
    try {
      const value = await load();
      this.#put(key, value);
      return value;
    } catch (error) {
      if (entry?.value !== undefined && isWithin(this.#times.staleFor, entry)) return entry.value;
      throw error;
    }
  }

  forget(key: string): void {
    this.#entries.delete(key);
    this.#absences.delete(key);
  }

  #ttlOf(entry: Entry<T>): number {
    return entry.value === undefined ? this.#times.absentTtl : this.#times.ttl;
  }

  #put(key: string, value: T | undefined): void {
    this.forget(key);
    const isAbsent = value === undefined;
    if (isAbsent && this.#times.absentTtl === 0) return;
    const [entries, capacity] = isAbsent ? [this.#absences, ABSENT_CAPACITY] : [this.#entries, CAPACITY];
    entries.set(key, { value, loadedAt: Date.now() });
    if (entries.size > capacity) entries.delete(entries.keys().next().value!);
  }
}

/** What was loaded later than now was loaded before the clock was set back, and nobody knows when. */
function isWithin(milliseconds: number, { loadedAt }: Pick<Entry<unknown>, "loadedAt">): boolean {
  const age = Date.now() - loadedAt;
  return age >= 0 && age < milliseconds;
}
