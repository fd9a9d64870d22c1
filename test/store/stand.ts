/** A zone's store alone in workerd: no doors, no identities, no other zone. */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { Miniflare } from "miniflare";
import { bundle } from "../../src/local/bundle.ts";
import { migrate } from "../../src/local/migrations.ts";
import { ROOT, temporaryFolder } from "../harness.ts";

export interface Stand {
  /** calls a function of the store; an S3Error comes back as an Error with its `code` */
  // biome-ignore lint/suspicious/noExplicitAny: what a function gives is the test's own knowledge
  call(name: string, ...args: unknown[]): Promise<any>;
  database: Awaited<ReturnType<Miniflare["getD1Database"]>>;
  newBucket(versioning?: "Enabled" | "Suspended", slots?: number): Promise<{ bucketId: number; slots: number }>;
  stop(): Promise<void>;
}

/** JSON has null alone. */
export const UNDEFINED = "(undefined)";

export async function startStand(): Promise<Stand> {
  const state = temporaryFolder();
  const script = await bundle(join(ROOT, "test/store/worker.ts"));
  const miniflare = new Miniflare({
    workers: [
      {
        config: {
          name: "store",
          compatibilityDate: "2026-11-01",
          compatibilityFlags: ["nodejs_compat"],
          manifest: { mainModule: "worker.mjs", modules: { "worker.mjs": { type: "esm", contents: script } } },
          env: {
            BLOBS: { type: "r2", name: "blobs" },
            INDEX: { type: "d1", id: "index" },
            REPLICATION: { type: "queue", name: "replication" },
            SEQUENCER: { type: "durable-object", worker: "store", exportName: "Sequencer" },
            ZONE: { type: "text", value: "here" },
            ZONES: { type: "json", value: [{ name: "here", number: 1, endpoint: "http://127.0.0.1" }] },
          },
          exports: { Sequencer: { type: "durable-object", storage: "sqlite" } },
        },
      },
    ],
    resourcePersistencePath: state,
    cf: false,
    enableDevRegistry: false,
    logRequests: false,
  });
  const database = await miniflare.getD1Database("INDEX", "store");
  await migrate(database, join(ROOT, "migrations/index"));
  let buckets = 0;
  const stand: Stand = {
    database,
    async call(name, ...args) {
      const response = await miniflare.dispatchFetch("http://store/", {
        method: "POST",
        body: JSON.stringify({ name, args: args.map((arg) => (arg === undefined ? UNDEFINED : arg)) }),
      });
      if (response.ok) return await response.json();
      const text = await response.text();
      if (response.status !== 418) throw new Error(text);
      const { code, message } = JSON.parse(text);
      throw Object.assign(new Error(`${code}: ${message}`), { code });
    },
    async newBucket(versioning, slots = 1) {
      const bucketId = ++buckets;
      await stand.call("createBucket", { bucketId, name: `bucket-${bucketId}`, organizationId: "o", slots });
      if (versioning) await stand.call("setVersioning", bucketId, "Enabled");
      if (versioning === "Suspended") await stand.call("setVersioning", bucketId, "Suspended");
      return { bucketId, slots };
    },
    async stop() {
      await miniflare.dispose();
      rmSync(state, { recursive: true, force: true });
    },
  };
  return stand;
}
