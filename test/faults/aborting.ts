/**
 * A zone whose Sequencer can be ended in the middle of a commit: `POST /-/abort?when=before|after&count=N` at its
 * endpoint makes the next N batches of INDEX end their Durable Object, before D1 has seen them or after it has
 * committed; GET says how many are left. Nothing in src knows of it.
 */
import zone, { Peer, Sequencer as Plain } from "../../src/zone.ts";

export { Peer };

// The module is shared by the Worker and its Durable Objects: they run in one isolate here.
const armed = { when: "before", count: 0 };

export class Sequencer extends Plain {
  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, { ...env, INDEX: endingIndex(env.INDEX, ctx) });
  }
}

function endingIndex(index: D1Database, ctx: DurableObjectState): D1Database {
  return new Proxy(index, {
    get(target, property) {
      if (property !== "batch") return Reflect.get(target, property).bind(target);
      return async (statements: D1PreparedStatement[]) => {
        const strikes = armed.count > 0;
        if (strikes) armed.count--;
        if (strikes && armed.when === "before") ctx.abort("ended before the commit");
        const results = await target.batch(statements);
        if (strikes && armed.when === "after") ctx.abort("ended after the commit");
        return results;
      };
    },
  });
}

export default {
  ...zone,
  async fetch(request, env, execution) {
    const url = new URL(request.url);
    if (url.pathname !== "/-/abort") return await zone.fetch!(request, env, execution);
    if (request.method === "GET") return Response.json({ left: armed.count });
    armed.when = url.searchParams.get("when")!;
    armed.count = Number(url.searchParams.get("count"));
    return new Response();
  },
} satisfies ExportedHandler<Env, never>;
