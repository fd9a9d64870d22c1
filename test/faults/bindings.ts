/**
 * The bindings of a zone, spoilt: each call asks armed.ts whether a fault strikes it. What isn't struck goes through
 * untouched.
 */
import { type Armed, type Call, note, strike } from "./armed.ts";

/** As workerd says it when the other side of a binding goes away. */
const LOST = "Network connection lost.";
/** Long enough for another request to come first. */
const WAIT_MS = 500;
/** As R2 says it. */
const R2_FAILED = "We encountered an internal error. Please try again. (10001)";

/** Where a binding is called from. */
interface Site {
  in: Call["in"];
  /** of the Durable Object, which some faults end */
  ctx?: DurableObjectState;
}

/** The same environment with every binding spoilt. Text and JSON bindings stay the very same values. */
export function spoil(env: Env, site: Site): Env {
  return {
    ...env,
    INDEX: spoilDatabase(env.INDEX, "INDEX", site),
    CONTROL: spoilDatabase(env.CONTROL, "CONTROL", site),
    BLOBS: spoilBlobs(env.BLOBS, site),
    REPLICATION: spoilQueue(env.REPLICATION, site),
    SEQUENCER: spoilSequencers(env.SEQUENCER, site),
  };
}

/** Does what a fault says in the place of a call, or the call. */
async function suffer<T>(fault: Armed | undefined, site: Site, call: () => Promise<T>, message = LOST): Promise<T> {
  if (fault?.how === "fails before") throw new Error(message);
  if (fault?.how === "ends before") site.ctx!.abort("ended before the commit");
  if (fault?.how === "waits") await scheduler.wait(WAIT_MS);
  const result = await call();
  if (fault?.how === "gathers") await gather(fault);
  if (fault?.how === "fails after") throw new Error(message);
  if (fault?.how === "ends after") site.ctx!.abort("ended after the commit");
  return result;
}

/** Each looks for itself: an invocation can't be woken by another one. Two seconds at most. */
async function gather(fault: Armed): Promise<void> {
  fault.gathered++;
  for (let i = 0; i < 1000 && fault.gathered < fault.times!; i++) await scheduler.wait(2);
}

/** The target with some members replaced. */
function replacing<T extends object>(target: T, members: Record<string, unknown>): T {
  return new Proxy(target, {
    get(_, name) {
      if (typeof name === "string" && name in members) return members[name];
      const value = Reflect.get(target, name);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

interface Source {
  statement: D1PreparedStatement;
  sql: string;
  binds: unknown[];
}

const sources = new WeakMap<object, Source>();
/** A batch that was cut off with its Durable Object, and is still to land. */
let late: { batch: Source[]; behind: number } | undefined;

function spoilDatabase(database: D1Database, name: string, site: Site): D1Database {
  const prepare = (sql: string) => spoilStatement(database.prepare(sql), { sql, binds: [] }, name, site);
  const batch = async (statements: D1PreparedStatement[]) => {
    const batched = statements.map((statement) => sources.get(statement)!);
    const fault = strike({ at: `${name}.batch`, text: batched.map(({ sql }) => sql).join(";\n"), in: site.in });
    if (fault?.how === "lands late") {
      late = { batch: batched, behind: fault.behind ?? 0 };
      site.ctx!.abort("replaced");
    }
    if (site.in === "sequencer") await landLate(database);
    return await suffer(fault, site, () => database.batch(batched.map(({ statement }) => statement)));
  };
  return replacing(database, { prepare, batch });
}

async function landLate(database: D1Database): Promise<void> {
  if (!late || late.behind-- > 0) return;
  const first = late.batch.map(({ sql, binds }) => database.prepare(sql).bind(...binds));
  late = undefined;
  note("landed late");
  await database.batch(first);
}

function spoilStatement(
  statement: D1PreparedStatement,
  source: Omit<Source, "statement">,
  name: string,
  site: Site,
): D1PreparedStatement {
  const { sql } = source;
  const members: Record<string, unknown> = {
    bind: (...binds: unknown[]) => spoilStatement(statement.bind(...binds), { sql, binds }, name, site),
  };
  for (const method of ["first", "all", "run", "raw"] as const) {
    members[method] = async (...parameters: unknown[]) => {
      const fault = strike({ at: `${name}.${method}`, text: sql, in: site.in });
      return await suffer(fault, site, () => (statement[method] as CallableFunction)(...parameters));
    };
  }
  const spoilt = replacing(statement, members);
  sources.set(spoilt, { statement, ...source });
  return spoilt;
}

function spoilBlobs(blobs: R2Bucket, site: Site): R2Bucket {
  return replacing(blobs, {
    put: async (...parameters: Parameters<R2Bucket["put"]>) => {
      const text = JSON.stringify(parameters[2]?.customMetadata ?? {});
      return await suffer(
        strike({ at: "BLOBS.put", text, in: site.in }),
        site,
        () => blobs.put(...parameters),
        `put: ${R2_FAILED}`,
      );
    },
    get: async (key: string, options?: R2GetOptions) => {
      const fault = strike({ at: "BLOBS.get", text: key, in: site.in });
      const object = await suffer(fault, site, () => blobs.get(key, options), `get: ${R2_FAILED}`);
      return fault?.how === "breaks" && object ? breaking(object, options) : object;
    },
    delete: async (keys: string | string[]) => {
      const fault = strike({ at: "BLOBS.delete", text: JSON.stringify(keys), in: site.in });
      return await suffer(fault, site, () => blobs.delete(keys), `delete: ${R2_FAILED}`);
    },
  });
}

/** Half of the bytes that were asked for, then an error. Its length is known, as that of R2's own stream. */
function breaking(object: R2ObjectBody, options?: R2GetOptions): R2ObjectBody {
  const { length = object.size } = (options?.range ?? {}) as { length?: number };
  const { readable, writable } = new FixedLengthStream(length);
  void copyHalf(object.body, writable, length);
  return replacing(object, { body: readable });
}

/** Writes the first half of a body and then breaks what it writes to. */
export async function copyHalf(body: ReadableStream<Uint8Array>, to: WritableStream, size: number): Promise<void> {
  const writer = to.getWriter();
  let left = size >> 1;
  for await (const chunk of body) {
    if (left > 0) await writer.write(chunk.subarray(0, left));
    left -= chunk.length;
    if (left <= 0) break;
  }
  await writer.abort(new Error(LOST));
}

let held: (() => Promise<unknown>)[] = [];

function spoilQueue(queue: Queue, site: Site): Queue {
  return replacing(queue, {
    send: async (body: unknown, options: QueueSendOptions = {}) =>
      await deliver(site, (delay) => queue.send(body, { ...options, ...delay })),
    sendBatch: async (messages: MessageSendRequest[]) =>
      await deliver(site, (delay) => queue.sendBatch(messages.map((message) => ({ ...message, ...delay })))),
  });
}

async function deliver(site: Site, send: (delay?: QueueSendOptions) => Promise<unknown>): Promise<void> {
  const fault = strike({ at: "REPLICATION.send", in: site.in });
  if (fault?.how === "is lost") return;
  if (fault?.how === "is delayed") await send({ delaySeconds: 2 });
  else if (fault?.how === "is reordered") held.push(send);
  else await suffer(fault, site, send);
  if (fault?.how === "is doubled") await send();
  if (fault?.how === "is reordered" && held.length < 3) return;
  const before = held.reverse();
  held = [];
  for (const sending of before) await sending();
}

function spoilSequencers(sequencers: Env["SEQUENCER"], site: Site): Env["SEQUENCER"] {
  return replacing(sequencers, {
    getByName: (name: string) => {
      const fault = strike({ at: "SEQUENCER.getByName", text: name, in: site.in });
      return sequencers.getByName(fault?.how === "alternates" ? `${name}~twin` : name);
    },
  });
}
