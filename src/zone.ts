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
import { listBucketsUsingRole, measureBuckets } from "./store/buckets.ts";
import type { BucketUsage, PeerMethods } from "./zones.ts";

export { Sequencer } from "./store/sequencer.ts";

export class Peer extends WorkerEntrypoint<Env> implements PeerMethods {
  async serve(request: Request, target: string, sourceIp: string): Promise<Response> {
    return await serve(request, this.env, this.ctx, { target, sourceIp, isForwarded: true });
  }

  async usage(bucketIds: number[]): Promise<BucketUsage[]> {
    return await measureBuckets(this.env, bucketIds);
  }

  async bucketsUsingRole(organizationId: string, roleId: string): Promise<string[]> {
    return await listBucketsUsingRole(this.env, organizationId, roleId);
  }
}

export default {
  async fetch(request, env, execution) {
    const arrival = { target: requestTarget(request.url), sourceIp: sourceIp(request, env), isForwarded: false };
    const [response] = await Promise.all([serve(request, env, execution, arrival), outwaitExpect(request, env)]);
    return response;
  },

  async queue(batch, env) {
    await consume(batch, env);
  },

  async scheduled(_controller, env) {
    await sweep(env);
  },
} satisfies ExportedHandler<Env, Wake>;

function isLocal(env: Env): boolean {
  return (env as { LOCAL?: string }).LOCAL === "1";
}

/** botocore waits this long for `100 Continue`, and a little. */
const EXPECT_MS = 1050;

/**
 * An empty object from a client of botocore (awscli, boto3) comes with `Expect: 100-continue`. workerd says `100 Continue`
 * only when a body is read, so never to an empty one, and no header of ours makes it close the connection. botocore takes
 * the answer for one that came early, and then mistakes the next one on that connection (`KeyError: 'ETag'`). An answer
 * that comes after it has given up waiting is understood. In production it is Cloudflare's edge that speaks to the client.
 */
async function outwaitExpect(request: Request, env: Env): Promise<void> {
  if (!isLocal(env) || !request.headers.has("expect")) return;
  if (!/boto/i.test(request.headers.get("user-agent") ?? "")) return;
  if (Number(request.headers.get("content-length") ?? 0) > 0 || request.headers.has("transfer-encoding")) return;
  await scheduler.wait(EXPECT_MS);
}

/**
 * The address of the client, as Cloudflare's edge tells it. Locally there is no edge: workerd shows no address, and the
 * header is the client's own word.
 */
function sourceIp(request: Request, env: Env): string {
  if (isLocal(env)) return "127.0.0.1";
  return request.headers.get("cf-connecting-ip") ?? "";
}
