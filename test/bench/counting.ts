/**
 * Counts billed units where they arise: every binding of a zone is wrapped, while the counting is on.
 *
 * It is off while anything is timed: then a zone runs with its own bindings, and its Sequencer, which keeps its `env`
 * for life, looks at a switch for each binding that it takes. D1 tells rows in `meta`, which `first()` would drop, so
 * that is answered by `all()`. Reads that a Sequencer does together are counted with the requests that they are for. The module is shared by a zone's Worker and its Durable Objects: one isolate here.
 */
import { noUnits, type Part, type Units } from "./units.ts";

const state: { isOn: boolean } & Record<Part, Units> = { isOn: false, requests: noUnits(), replication: noUnits() };
const counted = new WeakMap<Env, Record<Part, Env>>();

/** `POST` starts counting anew, `GET` tells, `DELETE` ends it. */
export function answerUnits({ method }: Request): Response {
  if (method === "POST") Object.assign(state, { isOn: true, requests: noUnits(), replication: noUnits() });
  if (method === "DELETE") state.isOn = false;
  const { requests, replication } = state;
  return Response.json({ requests, replication });
}

/** What an invocation works with: its own env as long as nothing is counted. */
export function envOf(env: Env, part: Part): Env {
  if (!state.isOn) return env;
  let parts = counted.get(env);
  if (!parts) {
    parts = { requests: countAll(env, "requests"), replication: countAll(env, "replication") };
    counted.set(env, parts);
  }
  return parts[part];
}

/** For what outlives the switch. */
export function switchingEnv(env: Env, part: Part): Env {
  return new Proxy(env, { get: (_, name) => Reflect.get(envOf(env, part), name) });
}

export function count(part: Part, unit: keyof Units, by = 1): void {
  if (state.isOn) state[part][unit] += by;
}

/** Counts the rows of a Durable Object's own storage. */
export function countClock(ctx: DurableObjectState): void {
  const { kv } = ctx.storage;
  const put = kv.put.bind(kv);
  Object.defineProperty(kv, "put", {
    value: (...entry: Parameters<typeof put>) => {
      count("requests", "clockRows");
      put(...entry);
    },
  });
}

function countAll(env: Env, part: Part): Env {
  const bindings = Object.entries(env).map(([name, value]) => [name, countBinding(name, value, part)]);
  return Object.fromEntries(bindings);
}

function countBinding(name: string, binding: unknown, part: Part): unknown {
  if (name === "BLOBS") return countBucket(binding as R2Bucket, part);
  if (name === "INDEX" || name === "CONTROL") return countDatabase(binding as D1Database, part);
  if (name === "SEQUENCER") return countNamespace(binding as Env["SEQUENCER"], part);
  if (name === "REPLICATION") return countQueue(binding as Queue, part);
  if (name.startsWith("PEER_")) return onCall(binding as object, () => count(part, "serviceCalls"));
  return binding;
}

/** The same object, whose methods are told of before they are called. */
function onCall<T extends object>(target: T, told: (method: string, parameters: unknown[]) => void): T {
  return new Proxy(target, {
    get(_, name) {
      const member = Reflect.get(target, name);
      if (typeof member !== "function") return member;
      return (...parameters: unknown[]) => {
        told(String(name), parameters);
        return Reflect.apply(member, target, parameters);
      };
    },
  });
}

/** Which class: https://developers.cloudflare.com/r2/pricing/ (deleting is free) */
function countBucket(bucket: R2Bucket, part: Part): R2Bucket {
  return onCall(bucket, (method) => {
    if (method === "get" || method === "head") count(part, "classB");
    else if (method !== "delete") count(part, "classA");
  });
}

function countQueue(queue: Queue, part: Part): Queue {
  return onCall(queue, (method, [messages]) => {
    count(part, "queueOperations", 3 * (method === "sendBatch" ? Array.from(messages as Iterable<unknown>).length : 1));
  });
}

function countNamespace(namespace: Env["SEQUENCER"], part: Part): Env["SEQUENCER"] {
  const getByName: typeof namespace.getByName = (...parameters) =>
    onCall(namespace.getByName(...parameters), () => count(part, "objectRequests"));
  return new Proxy(namespace, {
    get: (target, name) => (name === "getByName" ? getByName : Reflect.get(target, name).bind(target)),
  });
}

function countDatabase(database: D1Database, part: Part): D1Database {
  const originals = new WeakMap<D1PreparedStatement, D1PreparedStatement>();
  const take = <T>(result: D1Result<T>): D1Result<T> => {
    count(part, "rowsRead", result.meta.rows_read);
    count(part, "rowsWritten", result.meta.rows_written);
    return result;
  };
  const wrap = (statement: D1PreparedStatement): D1PreparedStatement => {
    const all = async () => take(await statement.all<Record<string, unknown>>());
    const first = async (column?: string) => {
      const [row] = (await all()).results;
      return row === undefined ? null : column === undefined ? row : row[column];
    };
    const bind = (...values: unknown[]) => wrap(statement.bind(...values));
    const wrapped = { all, run: all, first, bind } as unknown as D1PreparedStatement;
    originals.set(wrapped, statement);
    return wrapped;
  };
  const batch = async <T>(statements: D1PreparedStatement[]) => {
    const results = await database.batch<T>(statements.map((statement) => originals.get(statement)!));
    return results.map(take);
  };
  return { prepare: (sql: string) => wrap(database.prepare(sql)), batch } as unknown as D1Database;
}
