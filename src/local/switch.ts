/**
 * The main module of each zone's Worker in a local run: the zone itself, with a switch that cuts it off.
 *
 * A zone that is cut off drops what comes to it and what it sends to other zones, and what still waits for an answer when
 * the switch is turned; an answer that has begun is finished. Inside it goes on: its queue, its sweep, its links from one
 * bucket of its own to another. The control database is no zone's, so it stays in reach.
 *
 * The switch is an entrypoint that only the zone's own binding SWITCH leads to, which the runner takes hold of from
 * outside. Its state is this isolate's memory, so no cut outlives the run.
 *
 * What surprised us: there is no call that closes a client's connection, and an error is answered with 500; but one that
 * says "disconnected" closes it without an answer, and a fetch to a port where nobody listens throws such a one.
 */
import { WorkerEntrypoint } from "cloudflare:workers";
import zone, { Peer as ZonePeer } from "zone.mjs";

export * from "zone.mjs";

/** Whom the zone is kept from: `zones` the other zones and the control API, `all` clients too. */
export type Cut = "none" | "zones" | "all";

type Side = "clients" | "zones";
type Method = (...parameters: unknown[]) => unknown;

const NOBODY_LISTENS = "http://127.0.0.1:1/";
const DROPPED = new Error("dropped");

let cut: Cut = "none";
/** how to drop what waits for an answer: to a client, or between this zone and another */
const waiting: Record<Side, Set<() => void>> = { clients: new Set(), zones: new Set() };
const cuttables = new WeakMap<Env, Env>();

export class Switch extends WorkerEntrypoint<Env> {
  /** Gives how many requests were dropped for it. */
  turn(to: Cut): number {
    cut = to;
    const dropped = (["clients", "zones"] as const).filter(isCut).flatMap((side) => [...waiting[side]]);
    for (const drop of dropped) drop();
    return dropped.length;
  }

  position(): Cut {
    return cut;
  }
}

function isCut(side: Side): boolean {
  return cut === "all" || cut === side;
}

/** What `work` gives, unless the side is cut off before: then the connection breaks. */
async function connected<T>(side: Side, work: () => Promise<T> | T): Promise<T> {
  if (isCut(side)) return await breakConnection();
  let drop = () => {};
  try {
    return await new Promise<T>((resolve, reject) => {
      drop = () => reject(DROPPED);
      waiting[side].add(drop);
      Promise.resolve(work()).then(resolve, reject);
    });
  } catch (error) {
    if (error === DROPPED) return await breakConnection();
    throw error;
  } finally {
    waiting[side].delete(drop);
  }
}

async function breakConnection(): Promise<never> {
  await fetch(NOBODY_LISTENS);
  throw new Error(`somebody listens at ${NOBODY_LISTENS}, so no connection can be dropped`);
}

/** The same bindings, where those to other zones can be cut. The one to itself leads to LocalPeer, which never is. */
function cuttable(env: Env): Env {
  const known = cuttables.get(env);
  if (known) return known;
  const own = bindingTo(env.ZONE);
  const entries = Object.entries(env).map(([name, value]) => {
    return [name, name.startsWith("PEER_") && name !== own ? cuttablePeer(value) : value];
  });
  const made = Object.fromEntries(entries);
  cuttables.set(env, made);
  return made;
}

function bindingTo(zoneName: string): string {
  return `PEER_${zoneName.toUpperCase().replaceAll("-", "_")}`;
}

function cuttablePeer(peer: Record<string, Method>): unknown {
  const call = (_: unknown, method: string) => {
    return (...parameters: unknown[]) => connected("zones", () => peer[method]!(...parameters));
  };
  return new Proxy({}, { get: call });
}

/** What the zone is to itself. */
export class LocalPeer extends ZonePeer {
  constructor(execution: ExecutionContext, env: Env) {
    super(execution, cuttable(env));
  }
}

/** What the zone is to others. A call over a binding finds only methods of the prototype, so they are put there. */
export class Peer extends LocalPeer {
  static {
    for (const [name, method] of methodsOf(ZonePeer.prototype)) {
      const value = function (this: Peer, ...parameters: unknown[]) {
        return connected("zones", () => method.apply(this, parameters));
      };
      Object.defineProperty(Peer.prototype, name, { value });
    }
  }
}

/** Inherited ones too, down to those that every entrypoint has. */
function methodsOf(prototype: object): Map<string, Method> {
  if (prototype === WorkerEntrypoint.prototype) return new Map();
  const inherited = methodsOf(Object.getPrototypeOf(prototype));
  const names = Object.getOwnPropertyNames(prototype).filter((name) => name !== "constructor");
  const own = names.map((name) => [name, (prototype as Record<string, Method>)[name]!] as const);
  return new Map([...inherited, ...own]);
}

export default {
  fetch: (request, env, execution) => {
    return connected("clients", () => zone.fetch!(request, cuttable(env), execution));
  },
  queue: (batch, env, execution) => zone.queue!(batch, cuttable(env), execution),
  scheduled: (controller, env, execution) => zone.scheduled!(controller, cuttable(env), execution),
} satisfies ExportedHandler<Env>;
