/**
 * The bindings of a zone, spoilt: each wrapper stands before a real one and lets faults strike what goes through it.
 *
 * What surprised us: statements hide their text, so a batch that is to land later keeps what it was prepared from; and
 * what one Durable Object prepared, another can't run. A statement that isn't D1's own can't go into a batch, so they are
 * unwrapped for it.
 */
import type { Wake } from "../../src/replication/source.ts";
import type { Faults, Statement } from "./faults.ts";

const sources = new WeakMap<object, Statement>();

/** The INDEX of a Sequencer. */
export function spoiltIndex(
  index: D1Database,
  ctx: DurableObjectState,
  faultsNow: () => Faults | undefined,
): D1Database {
  const batch = async (statements: D1PreparedStatement[]): Promise<unknown> => {
    const faults = faultsNow();
    if (!faults) return await index.batch(statements);
    setClock(faults);
    if (faults.strikes("late")) {
      faults.late.push(statements.map((statement) => sources.get(statement)!));
      // What left for D1 left after the reserve was stored: the output gate holds it until then.
      await ctx.storage.sync();
      ctx.abort("replaced, with a batch on its way");
    }
    if (faults.strikes("end-before")) ctx.abort("ended before the commit");
    if (faults.strikes("d1-before")) throw new Error("D1_ERROR: Network connection lost.");
    const isLateFirst = faults.late.length > 0 && faults.amount("late") < 0.6;
    if (isLateFirst) await land(index, faults);
    const results = await index.batch(statements);
    if (faults.late.length > 0 && faults.amount("late") < 0.3) await land(index, faults);
    if (faults.strikes("end-after")) ctx.abort("ended after the commit");
    if (faults.strikes("d1-after")) throw new Error("D1_ERROR: Network connection lost.");
    return results;
  };
  return wired(index, faultsNow, batch);
}

/** The INDEX of everything else: the Worker, a drain, a sweep. */
export function spoiltReads(index: D1Database, faultsNow: () => Faults | undefined): D1Database {
  const batch = async (statements: D1PreparedStatement[]): Promise<unknown> =>
    await failing(faultsNow(), () => index.batch(statements));
  return wired(index, faultsNow, batch);
}

/** A D1 whose statements fail, and whose batches go another way. */
function wired(
  index: D1Database,
  faultsNow: () => Faults | undefined,
  batch: (statements: D1PreparedStatement[]) => Promise<unknown>,
): D1Database {
  const unwrapped = async (statements: D1PreparedStatement[]) =>
    await batch(statements.map((statement) => (statement as unknown as Wired).statement));
  return new Proxy(index, {
    get(target, name) {
      if (name === "batch") return unwrapped;
      if (name === "prepare") return (sql: string) => new Wired(target.prepare(sql), { sql, binds: [] }, faultsNow);
      return Reflect.get(target, name).bind(target);
    },
  });
}

/** A statement that fails now and then where it is run by itself, and can tell its text. */
class Wired implements Pick<D1PreparedStatement, "first" | "all" | "run" | "raw"> {
  readonly statement: D1PreparedStatement;
  readonly #source: Statement;
  readonly #faultsNow: () => Faults | undefined;

  constructor(statement: D1PreparedStatement, source: Statement, faultsNow: () => Faults | undefined) {
    this.statement = statement;
    this.#source = source;
    this.#faultsNow = faultsNow;
    sources.set(statement, source);
  }

  bind(...binds: unknown[]): Wired {
    return new Wired(this.statement.bind(...binds), { ...this.#source, binds }, this.#faultsNow);
  }

  async first(column?: string): Promise<never> {
    const first = () => (column === undefined ? this.statement.first() : this.statement.first(column));
    return (await failing(this.#faultsNow(), first)) as never;
  }

  async all<T>(): Promise<D1Result<T>> {
    return await failing(this.#faultsNow(), () => this.statement.all<T>());
  }

  async run<T>(): Promise<D1Result<T>> {
    return await failing(this.#faultsNow(), () => this.statement.run<T>());
  }

  async raw(): Promise<never> {
    return (await failing(this.#faultsNow(), () => this.statement.raw())) as never;
  }
}

async function failing<T>(faults: Faults | undefined, run: () => Promise<T>): Promise<T> {
  if (faults?.strikes("index-before")) throw new Error("D1_ERROR: Network connection lost.");
  const result = await run();
  if (faults?.strikes("index-after")) throw new Error("D1_ERROR: Network connection lost.");
  return result;
}

/** Batches that were cut off arrive. One that fails now would have failed then; both are counted. */
export async function land(index: D1Database, faults: Faults): Promise<void> {
  const { struck } = faults;
  for (const statements of faults.late.splice(0)) {
    try {
      const results = await index.batch(statements.map(({ sql, binds }) => index.prepare(sql).bind(...binds)));
      struck.landed++;
      if (results.some(({ meta }) => meta.changes > 0)) struck.changing++;
    } catch {
      struck.refused++;
    }
  }
}

const MAX_OFFSET_MS = 6 * 60 * 1000;

function setClock(faults: Faults): void {
  if (faults.strikes("clock-back")) faults.offset = -Math.floor(faults.amount("clock-back") * MAX_OFFSET_MS);
  if (faults.strikes("clock-ahead")) faults.offset = Math.floor(faults.amount("clock-ahead") * MAX_OFFSET_MS);
}

export function spoiltBlobs(blobs: R2Bucket, faultsOf: (bucketId: number) => Faults | undefined): R2Bucket {
  const put = async (key: string, ...rest: unknown[]): Promise<unknown> => {
    const faults = faultsOf(Number(key.split("/")[0]));
    if (faults?.strikes("r2-before"))
      throw new Error("put: We encountered an internal error. Please try again. (10001)");
    const stored = await (blobs.put as (key: string, ...rest: unknown[]) => Promise<unknown>)(key, ...rest);
    if (faults?.strikes("r2-after"))
      throw new Error("put: We encountered an internal error. Please try again. (10001)");
    return stored;
  };
  const get = async (key: string, ...rest: unknown[]): Promise<unknown> => {
    if (faultsOf(Number(key.split("/")[0]))?.strikes("r2-get"))
      throw new Error("get: We encountered an internal error. Please try again. (10001)");
    return await (blobs.get as (key: string, ...rest: unknown[]) => Promise<unknown>)(key, ...rest);
  };
  // Of many buckets' bodies at once the first one's faults decide.
  const remove = async (keys: string | string[]): Promise<void> => {
    const [first = ""] = [keys].flat();
    if (faultsOf(Number(first.split("/")[0]))?.strikes("r2-delete"))
      throw new Error("delete: We encountered an internal error. Please try again. (10001)");
    await blobs.delete(keys);
  };
  const spoilt = { put, get, delete: remove } as Record<PropertyKey, unknown>;
  return new Proxy(blobs, { get: (target, name) => spoilt[name] ?? Reflect.get(target, name).bind(target) });
}

type Send = { body: Wake; delaySeconds?: number };

export function spoiltQueue(
  queue: Queue<Wake>,
  faultsOf: (wake: Wake) => Promise<Faults | undefined> | Faults | undefined,
): Queue<Wake> {
  const sendOne = async ({ body, delaySeconds = 0 }: Send): Promise<void> => {
    const faults = await faultsOf(body);
    if (faults?.strikes("queue-lost")) return;
    if (faults?.strikes("queue-reordered")) {
      const earlier = faults.held as Wake | undefined;
      faults.held = body;
      if (earlier) await queue.send(earlier);
      return;
    }
    const isDelayed = faults?.strikes("queue-delayed");
    await queue.send(body, { delaySeconds: isDelayed ? 1 : delaySeconds });
    if (faults?.strikes("queue-doubled")) await queue.send(body, { delaySeconds });
    if (faults?.held) {
      const overtaken = faults.held as Wake;
      faults.held = undefined;
      await queue.send(overtaken);
    }
  };
  return {
    send: async (body: Wake, options: { delaySeconds?: number } = {}) => await sendOne({ body, ...options }),
    sendBatch: async (messages: Iterable<Send>) => {
      for (const message of messages) await sendOne(message);
    },
  } as unknown as Queue<Wake>;
}

/** Leads to a second instance of a slot now and then, which has a clock and a memory of its own. */
export function spoiltSequencer(
  namespace: Env["SEQUENCER"],
  faultsOf: (bucketId: number) => Faults | undefined,
): Env["SEQUENCER"] {
  return {
    getByName: (name: string) => {
      const isTwin = faultsOf(Number.parseInt(name, 10))?.strikes("twin");
      return namespace.getByName(isTwin ? `${name}~twin` : name);
    },
  } as unknown as Env["SEQUENCER"];
}
