/**
 * Turns descriptions of Workers into what Miniflare 5 wants: its native `{config, dev}` shape. The older shape goes
 * through a converter that drops the persistence paths without a word.
 *
 * Each Worker gets a socket of its own. Miniflare's entry socket normalises paths, and an S3 key may hold `..` and `//`.
 * A zone's main module is switch.ts, with the zone itself beside it.
 */
import type { WorkerOptions } from "miniflare";
import type { WorkerDescription } from "./wrangler.ts";
import type { LocalZone } from "./zones.ts";

export const HOST = "127.0.0.1";
export const ZONE_MODULE = "zone.mjs";
/** of a zone, to its own entrypoint: for the runner to call */
export const SWITCH_BINDING = "SWITCH";

export interface Placement {
  worker: WorkerDescription;
  port: number;
  /** the bundled Worker, an ES module */
  script: string;
  /** for a zone: the bundled switch.ts, which finds the Worker beside it as ZONE_MODULE */
  switchScript?: string | undefined;
}

/** What all Workers of a run share. */
export interface Shared {
  zones: (LocalZone & { endpoint: string; workerName: string })[];
  apiEndpoint: string;
  /** by name; ROOT_KEY and ADMIN_TOKEN */
  secrets: Record<string, string>;
  /** over those of wrangler.toml */
  vars: Record<string, unknown>;
}

type Bindings = NonNullable<WorkerOptions["config"]["env"]>;

export function workerOptions(placement: Placement, shared: Shared): WorkerOptions {
  const { worker, port } = placement;
  return {
    config: {
      name: worker.name,
      compatibilityDate: worker.compatibilityDate,
      compatibilityFlags: worker.compatibilityFlags,
      manifest: manifest(placement),
      env: { ...textBindings(worker, shared), ...storageBindings(worker), ...serviceBindings(worker, shared) },
      exports: worker.exports,
      triggers: worker.consumers.map(({ queue, ...consumer }) => ({
        type: "queue" as const,
        name: queue,
        ...consumer,
      })),
    },
    dev: { unsafeDirectSockets: [{ host: HOST, port }] },
  };
}

function manifest({ script, switchScript }: Placement): WorkerOptions["config"]["manifest"] {
  const module = (contents: string) => ({ type: "esm" as const, contents });
  if (switchScript === undefined) return { mainModule: "worker.mjs", modules: { "worker.mjs": module(script) } };
  return {
    mainModule: "switch.mjs",
    modules: { "switch.mjs": module(switchScript), [ZONE_MODULE]: module(script) },
  };
}

function textBindings(worker: WorkerDescription, shared: Shared): Bindings {
  const zones = shared.zones.map(({ name, number, endpoint }) => ({ name, number, endpoint }));
  const local = { ZONES: zones, API_ENDPOINT: shared.apiEndpoint, LOCAL: "1", LOG: "off" };
  const vars = { ...worker.vars, ...local, ...shared.vars };
  const bindings: Bindings = {};
  for (const [name, value] of Object.entries(vars)) {
    bindings[name] = typeof value === "string" ? { type: "text", value } : { type: "json", value: value as object };
  }
  for (const name of worker.secrets) {
    const value = shared.secrets[name];
    if (value === undefined) throw new Error(`the local run has no secret ${name} for ${worker.name}`);
    bindings[name] = { type: "text", value };
  }
  return bindings;
}

/** A database goes by its name here: the ids of wrangler.toml are placeholders until an account fills them in. */
function storageBindings(worker: WorkerDescription): Bindings {
  const bindings: Bindings = {};
  for (const { binding, bucket } of worker.buckets) bindings[binding] = { type: "r2", name: bucket };
  for (const { binding, database } of worker.databases) bindings[binding] = { type: "d1", id: database };
  for (const { binding, queue } of worker.producers) bindings[binding] = { type: "queue", name: queue };
  for (const { binding, className } of worker.durableObjects) {
    bindings[binding] = { type: "durable-object", worker: worker.name, exportName: className };
  }
  return bindings;
}

/**
 * `PEER_*` leads to every zone of the run, whether wrangler.toml declares that zone or not; to itself too, by an
 * entrypoint that goes on answering while the zone is cut off from others.
 */
function serviceBindings(worker: WorkerDescription, shared: Shared): Bindings {
  const bindings: Bindings = {};
  const peers = worker.services.filter(({ binding }) => binding.startsWith("PEER_"));
  for (const { binding, service, entrypoint } of worker.services) {
    if (!binding.startsWith("PEER_")) bindings[binding] = { type: "worker", worker: service, exportName: entrypoint };
  }
  for (const { name, workerName } of peers.length ? shared.zones : []) {
    const binding = `PEER_${name.toUpperCase().replaceAll("-", "_")}`;
    const isItself = workerName === worker.name;
    const exportName = isItself ? "LocalPeer" : peers[0]!.entrypoint;
    bindings[binding] = { type: "worker", worker: workerName, exportName };
    if (isItself) bindings[SWITCH_BINDING] = { type: "worker", worker: workerName, exportName: "Switch" };
  }
  return bindings;
}
