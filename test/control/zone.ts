/**
 * A zone for tests of the control API and the directory: it says that each bucket holds ten bytes for its number, and
 * when ZONE is at-vie-1, nothing at all. No bucket here replicates.
 */
import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";
import type { BucketUsage } from "../../src/zones.ts";

export class Sequencer extends DurableObject<Env> {}

export class Peer extends WorkerEntrypoint<Env> {
  async usage(bucketIds: number[]): Promise<BucketUsage[]> {
    if (this.env.ZONE === "at-vie-1") throw new Error("this zone is away");
    return bucketIds.map((bucketId) => ({ bucketId, objects: 1, bytes: bucketId * 10 }));
  }

  async bucketsUsingRole(): Promise<string[]> {
    return [];
  }
}

export default {
  fetch: () => new Response(null, { status: 404 }),
  queue() {},
  scheduled() {},
} satisfies ExportedHandler<Env>;
