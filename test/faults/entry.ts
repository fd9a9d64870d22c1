/**
 * A zone that can be made to fail: `POST /-/fault` at its endpoint, with `{ faults, clock }` as JSON, arms faults
 * (armed.ts) in the place of those before and sets its clock `clock` milliseconds ahead; GET tells how often each has
 * struck. It wraps what the real Worker, its Peer and its Sequencer are given; nothing in src knows of it.
 *
 * And as at Cloudflare, an invocation of the queue's consumer may call other Workers 32 times: more throws. Each
 * invocation notes how many calls it made: `32 calls`.
 */
import type { Wake } from "../../src/replication/source.ts";
import zone, { Peer as PlainPeer, Sequencer as PlainSequencer } from "../../src/zone.ts";
import { answerSpoilt } from "./answers.ts";
import { arm, type Fault, note, report, strike } from "./armed.ts";
import { spoil } from "./bindings.ts";

const plain: ExportedHandler<Env, Wake> = zone;
const MAX_INVOCATIONS = 32;

let ahead = 0;
const RealDate = Date;
globalThis.Date = new Proxy(RealDate, {
  construct: (target, parameters) =>
    parameters.length > 0 ? Reflect.construct(target, parameters) : new target(target.now() + ahead),
  get: (target, name) => (name === "now" ? () => target.now() + ahead : Reflect.get(target, name)),
});

export class Sequencer extends PlainSequencer {
  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, spoil(env, { in: "sequencer", ctx }));
  }

  override async find(...parameters: Parameters<PlainSequencer["find"]>): ReturnType<PlainSequencer["find"]> {
    const fault = strike({ at: "SEQUENCER.find", in: "sequencer" });
    if (fault?.how === "fails before") throw new Error("Durable Object is overloaded.");
    if (fault?.how === "hangs") await new Promise(() => setInterval(() => {}, 1000));
    return await super.find(...parameters);
  }
}

export class Peer extends PlainPeer {
  constructor(ctx: ExecutionContext, env: Env) {
    super(ctx, spoil(env, { in: "worker" }));
  }

  override async serve(request: Request, target: string, sourceIp: string): Promise<Response> {
    const serve = (passed: Request) => super.serve(passed, target, sourceIp);
    return target.includes("?replicate") ? await answerSpoilt(request, serve) : await serve(request);
  }
}

/** An invocation's environment, which counts the calls to other zones. */
function counting(env: Env): { env: Env; calls(): number } {
  let calls = 0;
  const count = (peer: PlainPeer): unknown => ({
    serve: async (...parameters: Parameters<PlainPeer["serve"]>) => {
      if (++calls <= MAX_INVOCATIONS) return await peer.serve(...parameters);
      throw new Error("Too many Worker invocations.");
    },
  });
  const bindings = Object.entries(env).map(([name, value]) => [name, name.startsWith("PEER_") ? count(value) : value]);
  return { env: Object.fromEntries(bindings), calls: () => calls };
}

export default {
  async queue(batch, env, execution) {
    const consume = async () => {
      const counted = counting(env);
      await plain.queue!(batch, spoil(counted.env, { in: "worker" }), execution);
      note(`${counted.calls()} calls`);
    };
    const fault = strike({ at: "QUEUE.consume", in: "worker" });
    await Promise.all(fault?.how === "is doubled" ? [consume(), consume()] : [consume()]);
  },

  async scheduled(controller, env, execution) {
    await plain.scheduled!(controller, spoil(env, { in: "worker" }), execution);
  },

  async fetch(request, env, execution) {
    if (new URL(request.url).pathname !== "/-/fault") {
      return await plain.fetch!(request as never, spoil(env, { in: "worker" }), execution);
    }
    if (request.method === "GET") return Response.json(report());
    const { faults = [], clock = 0 } = await request.json<{ faults?: Fault[]; clock?: number }>();
    arm(faults);
    ahead = clock;
    return new Response();
  },
} satisfies ExportedHandler<Env, Wake>;
