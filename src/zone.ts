/**
 * The zone Worker: its S3 endpoint, and what it offers to the other Workers of its account.
 *
 * `Peer` is reached by service bindings alone, so what comes through it is known to come from a zone: that a request
 * was passed on is never told by a header, which a client could forge.
 */
import { WorkerEntrypoint } from "cloudflare:workers";
import { consume, type Wake } from "./replication/source.ts";
import { sweep } from "./replication/sweep.ts";
import { serve } from "./s3/index.ts";
import { requestTarget } from "./s3/target.ts";
import { measureBuckets } from "./store/buckets.ts";
import type { BucketUsage, PeerMethods } from "./zones.ts";

export { Sequencer } from "./store/sequencer.ts";

export class Peer extends WorkerEntrypoint<Env> implements PeerMethods {
  async serve(request: Request, target: string, sourceIp: string): Promise<Response> {
    return await serve(request, this.env, this.ctx, { target, sourceIp, isForwarded: true });
  }

  async usage(bucketIds: number[]): Promise<BucketUsage[]> {
    return await measureBuckets(this.env, bucketIds);
  }
}

export default {
  async fetch(request, env, execution) {
    const arrival = { target: requestTarget(request.url), sourceIp: sourceIp(request, env), isForwarded: false };
    return await serve(request, env, execution, arrival);
  },

  async queue(batch, env) {
    await consume(batch, env);
  },

  async scheduled(_controller, env) {
    await sweep(env);
  },
} satisfies ExportedHandler<Env, Wake>;

/**
 * The address of the client, as Cloudflare's edge tells it. Locally there is no edge: workerd shows no address, and the
 * header is the client's own word.
 */
function sourceIp(request: Request, env: Env): string {
  if ((env as { LOCAL?: string }).LOCAL === "1") return "127.0.0.1";
  return request.headers.get("cf-connecting-ip") ?? "";
}
