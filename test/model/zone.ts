/**
 * A zone whose every part can fail, bucket by bucket. At its endpoint, `PUT /-/faults/BUCKET` with `{seed, rates}` lets
 * faults strike that bucket, `DELETE` ends them and tells what came of them. Nothing in src knows of it.
 *
 * The Worker and its Durable Objects share this module: they run in one isolate here. A slot's clock is set by replacing
 * Date.now for what runs in the slot, since all buckets of the zone share the one clock.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import type { Wake } from "../../src/replication/source.ts";
import zone, { Peer as PlainPeer, Sequencer as PlainSequencer } from "../../src/zone.ts";
import { Faults, type Rates } from "./faults.ts";
import { spoiltServe } from "./peer.ts";
import { land, spoiltBlobs, spoiltIndex, spoiltQueue, spoiltReads, spoiltSequencer } from "./wires.ts";

// What fails here fails on purpose, thousands of times; what is wrong with it the checks tell.
console.error = () => {};

const byName = new Map<string, Faults>();
const byId = new Map<number, Faults>();
const bucketsOfLinks = new Map<number, number>();

const inSlot = new AsyncLocalStorage<Faults | undefined>();
/** the bucket that a request or a drain is about; the sweep is about all, and its INDEX works */
const inRequest = new AsyncLocalStorage<Faults | undefined>();
const now = Date.now;
Date.now = () => now() + (inSlot.getStore()?.offset ?? 0);

const ofBucket = (bucketId: number) => byId.get(bucketId);

export class Sequencer extends PlainSequencer {
  readonly #bucketId: number;

  constructor(ctx: DurableObjectState, env: Env) {
    const bucketId = Number.parseInt(ctx.id.name!, 10);
    const faults = () => ofBucket(bucketId);
    const INDEX = spoiltIndex(env.INDEX, ctx, faults);
    super(ctx, { ...env, INDEX, REPLICATION: spoiltQueue(env.REPLICATION as Queue<Wake>, faults) });
    this.#bucketId = bucketId;
  }

  override async commit(...parameters: Parameters<PlainSequencer["commit"]>): ReturnType<PlainSequencer["commit"]> {
    return await inSlot.run(ofBucket(this.#bucketId), () => super.commit(...parameters));
  }
}

/** Set once for a Worker's invocation: everything but the Sequencer sees these bindings. */
function spoilt(env: Env): Env {
  const ofLink = async ({ linkId }: Wake) => ofBucket(await bucketOfLink(env, linkId));
  return {
    ...env,
    INDEX: spoiltReads(env.INDEX, () => inRequest.getStore()),
    BLOBS: spoiltBlobs(env.BLOBS, ofBucket),
    REPLICATION: spoiltQueue(env.REPLICATION as Queue<Wake>, ofLink),
    SEQUENCER: spoiltSequencer(env.SEQUENCER, ofBucket),
  };
}

async function bucketOfLink(env: Env, linkId: number): Promise<number> {
  const known = bucketsOfLinks.get(linkId);
  if (known !== undefined) return known;
  const row = await env.INDEX.prepare("SELECT bucket_id FROM links WHERE link_id = ?").bind(linkId).first("bucket_id");
  bucketsOfLinks.set(linkId, row as number);
  return row as number;
}

export class Peer extends PlainPeer {
  constructor(ctx: ExecutionContext, env: Env) {
    super(ctx, spoilt(env));
  }

  override async serve(request: Request, target: string, sourceIp: string): Promise<Response> {
    const faults = byName.get(bucketOf(target));
    const serve = (each: Request) => inRequest.run(faults, () => super.serve(each, target, sourceIp));
    return faults ? await spoiltServe(this.ctx, faults, request, target, serve) : await serve(request);
  }
}

function bucketOf(target: string): string {
  return /^\/([^/?]*)/.exec(target)?.[1] ?? "";
}

/** `/-/faults/BUCKET` */
async function arm(request: Request, env: Env, bucket: string): Promise<Response> {
  if (request.method === "PUT") {
    const { seed, rates } = (await request.json()) as { seed: string; rates: Rates };
    const row = await env.INDEX.prepare("SELECT bucket_id FROM buckets WHERE name = ?").bind(bucket).first("bucket_id");
    const faults = new Faults(row as number, seed, rates);
    byName.set(bucket, faults);
    byId.set(faults.bucketId, faults);
    return new Response();
  }
  const faults = byName.get(bucket)!;
  faults.end();
  await land(env.INDEX, faults);
  return Response.json({ ...faults.struck, repeating: faults.repeating });
}

export default {
  async fetch(request, env, execution) {
    const bucket = /\/-\/faults\/(.*)$/.exec(request.url)?.[1];
    if (bucket !== undefined) return await arm(request, env, bucket);
    const name = bucketOf(new URL(request.url).pathname);
    const faults = byName.get(name);
    if (faults && faults.cutUntil > now()) return new Response("cut off", { status: 503 });
    return await inRequest.run(faults, async () => await zone.fetch!(request, spoilt(env), execution));
  },

  /** The messages of each link and slot by themselves, which are drained by themselves anyway. */
  async queue(batch, env) {
    const places = Map.groupBy(batch.messages, ({ body }) => `${body.linkId}/${body.slot}`);
    const drains = Array.from(places.values(), async (messages) => {
      const faults = ofBucket(await bucketOfLink(env, messages[0]!.body.linkId));
      const own = { queue: batch.queue, messages } as unknown as typeof batch;
      await inRequest.run(faults, async () => await zone.queue!(own, spoilt(env)));
    });
    await Promise.all(drains);
  },

  async scheduled(controller, env) {
    await zone.scheduled!(controller, spoilt(env));
  },
} satisfies ExportedHandler<Env, Wake>;
