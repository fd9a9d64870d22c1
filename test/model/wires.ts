/**
 * The bindings of a zone, spoilt: each wrapper stands before a real one and lets faults strike what goes through it.
 *
 * What surprised us: statements hide their text, so a batch that is to land later keeps what it was prepared from; and
 * what one Durable Object prepared, another can't run.
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
  return new Proxy(index, {
    get(target, name) {
      if (name === "batch") return batch;
      if (name === "prepare") return (sql: string) => traced(target.prepare(sql), sql);
      return Reflect.get(target, name).bind(target);
    },
  });
}

function traced(statement: D1PreparedStatement, sql: string): D1PreparedStatement {
  const bind = (...binds: unknown[]) => {
    const bound = statement.bind(...binds);
    sources.set(bound, { sql, binds });
    return bound;
  };
  return new Proxy(statement, {
    get: (target, name) => (name === "bind" ? bind : Reflect.get(target, name).bind(target)),
  });
}

/** Batches that were cut off arrive. One that fails now would have failed then. */
export async function land(index: D1Database, faults: Faults): Promise<void> {
  for (const statements of faults.late.splice(0)) {
    await index.batch(statements.map(({ sql, binds }) => index.prepare(sql).bind(...binds))).catch(() => {});
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
  return new Proxy(blobs, {
    get: (target, name) => (name === "put" ? put : Reflect.get(target, name).bind(target)),
  });
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
