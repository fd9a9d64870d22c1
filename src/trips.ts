/**
 * Trips: the calls over bindings (D1, R2, Durable Objects, the queue, other zones) that one request makes. They are what
 * an operation takes its time for and what is billed, so each line of the log tells how many there were.
 *
 * A request gets an env of its own, whose bindings count; what isn't a binding it inherits. A batch is one trip, as is a
 * call that fails. What a Durable Object or another zone does in its turn isn't counted here: its trips are its own.
 *
 * What surprised us: a statement that isn't D1's own can't go into a batch, so the counted ones are unwrapped for it; and
 * a method of an RPC stub has properties that are remote too, so `method.apply` would be a call to a method of that name.
 */
interface Journey {
  requestId: string;
  trips: number;
}

const JOURNEY = Symbol("journey");

type RequestEnv = { [JOURNEY]?: Journey };
type Wrap = (binding: never, journey: Journey) => object;

/** What all requests of an env share: the names of its bindings, and how each is made to count. */
const prototypes = new WeakMap<object, object>();

/** `env` as one request sees it. `tripsOf` and `requestIdOf` read it. */
export function requestEnv(env: Env, requestId: string): Env {
  let prototype = prototypes.get(env);
  if (!prototype) {
    prototype = countingPrototype(env);
    prototypes.set(env, prototype);
  }
  const own = Object.create(prototype) as Env & RequestEnv;
  own[JOURNEY] = { requestId, trips: 0 };
  return own;
}

/** Calls made so far. */
export function tripsOf(env: Env): number {
  return (env as RequestEnv)[JOURNEY]?.trips ?? 0;
}

/** The id of the request that an env belongs to; undefined for one that belongs to none. */
export function requestIdOf(env: object): string | undefined {
  return (env as RequestEnv)[JOURNEY]?.requestId;
}

function countingPrototype(env: Env): object {
  const prototype = Object.create(env);
  for (const name in env) {
    const wrap = wrapOf(name);
    if (!wrap) continue;
    const get = function (this: Required<RequestEnv>) {
      return wrap(env[name as keyof Env] as never, this[JOURNEY]);
    };
    Object.defineProperty(prototype, name, { get });
  }
  return prototype;
}

function wrapOf(binding: string): Wrap | undefined {
  if (binding === "INDEX" || binding === "CONTROL") return (database, journey) => new Database(database, journey);
  if (binding === "SEQUENCER") return (namespace, journey) => new Namespace(namespace, journey);
  if (binding === "BLOBS" || binding === "REPLICATION" || binding.startsWith("PEER_")) return countCalls;
  return undefined;
}

/** Whatever is called on it is a trip. */
function countCalls<T extends object>(binding: T, journey: Journey): T {
  return new Proxy(binding, {
    get(target, name) {
      const value = Reflect.get(target, name);
      if (typeof value !== "function") return value;
      return (...parameters: unknown[]) => {
        journey.trips++;
        return (target as Record<typeof name, (...all: unknown[]) => unknown>)[name]!(...parameters);
      };
    },
  });
}

class Namespace implements Pick<DurableObjectNamespace, "getByName"> {
  readonly #namespace: DurableObjectNamespace;
  readonly #journey: Journey;

  constructor(namespace: DurableObjectNamespace, journey: Journey) {
    this.#namespace = namespace;
    this.#journey = journey;
  }

  getByName(name: string): DurableObjectStub {
    return countCalls(this.#namespace.getByName(name), this.#journey);
  }
}

/** Every read asks for a row, so this one is no Proxy. */
class Database implements Pick<D1Database, "prepare" | "batch"> {
  readonly #database: D1Database;
  readonly #journey: Journey;

  constructor(database: D1Database, journey: Journey) {
    this.#database = database;
    this.#journey = journey;
  }

  prepare(query: string): D1PreparedStatement {
    return new Statement(this.#database.prepare(query), this.#journey) as unknown as D1PreparedStatement;
  }

  batch<T>(statements: D1PreparedStatement[]): Promise<D1Result<T>[]> {
    this.#journey.trips++;
    return this.#database.batch<T>(statements.map((statement) => (statement as unknown as Statement).statement));
  }
}

class Statement {
  readonly statement: D1PreparedStatement;
  readonly #journey: Journey;

  constructor(statement: D1PreparedStatement, journey: Journey) {
    this.statement = statement;
    this.#journey = journey;
  }

  bind(...values: unknown[]): Statement {
    return new Statement(this.statement.bind(...values), this.#journey);
  }

  first<T>(column?: string): Promise<T | null> {
    this.#journey.trips++;
    return column === undefined ? this.statement.first<T>() : this.statement.first<T>(column);
  }

  all<T>(): Promise<D1Result<T>> {
    this.#journey.trips++;
    return this.statement.all<T>();
  }

  run<T>(): Promise<D1Result<T>> {
    this.#journey.trips++;
    return this.statement.run<T>();
  }

  raw<T>(): Promise<T[]> {
    this.#journey.trips++;
    return this.statement.raw<T>();
  }
}
