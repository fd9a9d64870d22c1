/**
 * Reads wrangler.toml into plain descriptions of Workers, so that a binding is declared once for production and for the
 * local run.
 *
 * It refuses what it doesn't know: a binding that the local run left out in silence would be found missing only at the
 * first request that needs it. Settings that mean nothing on one machine are named in IGNORED.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "smol-toml";

export interface WorkerDescription {
  /** name of the environment in wrangler.toml: a zone's name, or `control` */
  environment: string;
  name: string;
  /** entry file, relative to the folder of wrangler.toml */
  main: string;
  compatibilityDate: string;
  compatibilityFlags: string[];
  vars: Record<string, unknown>;
  /** names of the secrets that the Worker needs */
  secrets: string[];
  buckets: { binding: string; bucket: string }[];
  databases: { binding: string; database: string; migrations: string | undefined }[];
  durableObjects: { binding: string; className: string }[];
  /** declared Durable Object classes by name, as wrangler's `exports` */
  exports: Record<string, { type: "durable-object"; storage: "sqlite" }>;
  producers: { binding: string; queue: string }[];
  consumers: Consumer[];
  services: { binding: string; service: string; entrypoint: string | undefined }[];
  crons: string[];
}

export interface Consumer {
  queue: string;
  maxBatchSize: number;
  /** seconds */
  maxBatchTimeout: number;
  maxRetries: number;
  deadLetterQueue: string | undefined;
}

/** What production needs and one machine doesn't. */
const IGNORED = ["limits", "observability", "placement", "routes", "workers_dev", "send_metrics"];
const KNOWN = [
  ...["name", "main", "compatibility_date", "compatibility_flags", "vars", "secrets", "r2_buckets", "d1_databases"],
  ...["durable_objects", "exports", "queues", "services", "triggers"],
];

interface Environment {
  name?: string;
  main?: string;
  compatibility_date?: string;
  compatibility_flags?: string[];
  vars?: Record<string, unknown>;
  secrets?: { required?: string[] };
  r2_buckets?: { binding: string; bucket_name: string }[];
  d1_databases?: { binding: string; database_name: string; migrations_dir?: string }[];
  durable_objects?: { bindings?: { name: string; class_name: string }[] };
  exports?: WorkerDescription["exports"];
  queues?: { producers?: { binding: string; queue: string }[]; consumers?: QueueConsumer[] };
  services?: { binding: string; service: string; entrypoint?: string }[];
  triggers?: { crons?: string[] };
}

interface QueueConsumer {
  queue: string;
  max_batch_size?: number;
  max_batch_timeout?: number;
  max_retries?: number;
  dead_letter_queue?: string;
}

/** Every environment of `root`/wrangler.toml, in the file's order. Throws on a key that the local run doesn't know. */
export function readWrangler(root: string): WorkerDescription[] {
  const { env = {}, ...top } = parse(readFileSync(join(root, "wrangler.toml"), "utf8")) as Environment & {
    env?: Record<string, Environment>;
  };
  refuseUnknown("wrangler.toml", top);
  return Object.entries(env).map(([environment, own]) => {
    refuseUnknown(`wrangler.toml, env.${environment}`, own);
    return describe(environment, top, own);
  });
}

function refuseUnknown(where: string, table: object): void {
  const unknown = Object.keys(table).filter((key) => !KNOWN.includes(key) && !IGNORED.includes(key));
  if (unknown.length)
    throw new Error(`${where}: the local run doesn't know ${unknown.join(", ")} (src/local/wrangler.ts)`);
}

/** Bindings and vars don't inherit in wrangler, so `own` alone gives them; the entry file and compatibility do. */
function describe(environment: string, top: Environment, own: Environment): WorkerDescription {
  return {
    environment,
    name: own.name ?? `${top.name}-${environment}`,
    main: own.main ?? top.main ?? "src/index.ts",
    compatibilityDate: own.compatibility_date ?? top.compatibility_date ?? "",
    compatibilityFlags: own.compatibility_flags ?? top.compatibility_flags ?? [],
    vars: own.vars ?? {},
    secrets: own.secrets?.required ?? [],
    crons: own.triggers?.crons ?? [],
    exports: own.exports ?? {},
    ...describeStorage(own),
    ...describeMessages(own),
  };
}

function describeStorage(own: Environment): Pick<WorkerDescription, "buckets" | "databases" | "durableObjects"> {
  return {
    buckets: (own.r2_buckets ?? []).map(({ binding, bucket_name }) => ({ binding, bucket: bucket_name })),
    databases: (own.d1_databases ?? []).map(({ binding, database_name, migrations_dir }) => ({
      binding,
      database: database_name,
      migrations: migrations_dir,
    })),
    durableObjects: (own.durable_objects?.bindings ?? []).map(({ name, class_name }) => ({
      binding: name,
      className: class_name,
    })),
  };
}

function describeMessages(own: Environment): Pick<WorkerDescription, "producers" | "consumers" | "services"> {
  return {
    producers: own.queues?.producers ?? [],
    consumers: (own.queues?.consumers ?? []).map(describeConsumer),
    services: (own.services ?? []).map(({ binding, service, entrypoint }) => ({ binding, service, entrypoint })),
  };
}

/** The simulator's defaults are not production's, so an unset value is taken from production's. */
function describeConsumer(consumer: QueueConsumer): Consumer {
  return {
    queue: consumer.queue,
    maxBatchSize: consumer.max_batch_size ?? 10,
    maxBatchTimeout: consumer.max_batch_timeout ?? 5,
    maxRetries: consumer.max_retries ?? 3,
    deadLetterQueue: consumer.dead_letter_queue,
  };
}
