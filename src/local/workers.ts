/**
 * Turns descriptions of Workers into what Miniflare 5 wants: its native `{config, dev}` shape. The older shape goes
 * through a converter that drops the persistence paths without a word.
 *
 * Each Worker gets a socket of its own. Miniflare's entry socket normalises paths, and an S3 key may hold `..` and `//`.
 */
import type { WorkerOptions } from "miniflare";
import type { WorkerDescription } from "./wrangler.ts";
import type { LocalZone } from "./zones.ts";

export const HOST = "127.0.0.1";

export interface Placement {
  worker: WorkerDescription;
  port: number;
  /** the bundled Worker, an ES module */
  script: string;
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

export function workerOptions({ worker, port, script }: Placement, shared: Shared): WorkerOptions {
  return {
    config: {
      name: worker.name,
      compatibilityDate: worker.compatibilityDate,
      compatibilityFlags: worker.compatibilityFlags,
      manifest: { mainModule: "worker.mjs", modules: { "worker.mjs": { type: "esm", contents: script } } },
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

function textBindings(worker: WorkerDescription, shared: Shared): Bindings {
  const zones = shared.zones.map(({ name, number, endpoint }) => ({ name, number, endpoint }));
  const vars = { ...worker.vars, ZONES: zones, API_ENDPOINT: shared.apiEndpoint, LOCAL: "1", ...shared.vars };
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

/** `PEER_*` leads to every zone of the run, itself included, whether wrangler.toml declares that zone or not. */
function serviceBindings(worker: WorkerDescription, shared: Shared): Bindings {
  const bindings: Bindings = {};
  const peers = worker.services.filter(({ binding }) => binding.startsWith("PEER_"));
  for (const { binding, service, entrypoint } of worker.services) {
    if (!binding.startsWith("PEER_")) bindings[binding] = { type: "worker", worker: service, exportName: entrypoint };
  }
  for (const { name, workerName } of peers.length ? shared.zones : []) {
    const binding = `PEER_${name.toUpperCase().replaceAll("-", "_")}`;
    bindings[binding] = { type: "worker", worker: workerName, exportName: peers[0]!.entrypoint };
  }
  return bindings;
}
