/**
 * The bench's Worker: a zone as it is, whose billed units can be counted at `/-/units`; but in the zone named `bare` the
 * platform without us (bare.ts). So both run in one workerd, on one disk, each with a bucket and a database of its own.
 */
import type { Wake } from "../../src/replication/source.ts";
import zone, { Peer as PlainPeer, Sequencer as PlainSequencer } from "../../src/zone.ts";
import { CARRIED, serveBare, storeCarried } from "./bare.ts";
import { answerUnits, count, countClock, envOf, switchingEnv } from "./counting.ts";

export class Peer extends PlainPeer {
  constructor(ctx: ExecutionContext, env: Env) {
    super(ctx, envOf(env, "replication"));
  }

  override async serve(request: Request, target: string, sourceIp: string): Promise<Response> {
    if (target === CARRIED) return await storeCarried(this.env, request);
    return await super.serve(request, target, sourceIp);
  }
}

export class Sequencer extends PlainSequencer {
  constructor(ctx: DurableObjectState, env: Env) {
    countClock(ctx);
    super(ctx, switchingEnv(env, "requests"));
  }
}

export default {
  ...zone,

  async fetch(request, env, execution) {
    if (env.ZONE === "bare") return await serveBare(request, env);
    if (request.url.endsWith("/-/units")) return answerUnits(request);
    count("requests", "workerRequests");
    return await zone.fetch!(request, envOf(env, "requests"), execution);
  },

  async queue(batch, env) {
    count("replication", "workerRequests");
    await zone.queue!(batch, envOf(env, "replication"));
  },
} satisfies ExportedHandler<Env, Wake>;
