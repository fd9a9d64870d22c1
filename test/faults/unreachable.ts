/**
 * Zones whose doors for other zones can be spoilt: `POST /-/peer?mode=...` at a zone's endpoint. `down` throws as a zone
 * does that can't be reached, `hang` never answers, `stall` begins an answer that never ends, `poison=KEY` answers 500 to
 * whatever names that key, `cut` lets N requests pass and then goes down. GET tells which requests came. Nothing in src
 * knows of it.
 *
 * And as at Cloudflare, an invocation of the queue's consumer may call other Workers 32 times: more throws, and is told.
 */
import type { Wake } from "../../src/replication/source.ts";
import zone, { Peer as Plain, Sequencer } from "../../src/zone.ts";

export { Sequencer };

const spoilt = { mode: "up", poison: "", left: 0, requests: [] as string[], overdrawn: 0 };
const MAX_INVOCATIONS = 32;

export class Peer extends Plain {
  override async serve(request: Request, target: string, sourceIp: string): Promise<Response> {
    if (!target.includes("?replicate")) return await super.serve(request, target, sourceIp);
    if (spoilt.mode === "cut" && spoilt.left-- <= 0) spoilt.mode = "down";
    if (spoilt.mode === "down") throw new Error("Network connection lost.");
    if (spoilt.mode === "hang") await new Promise(() => setInterval(() => {}, 1000));
    if (spoilt.mode === "stall") return new Response(new ReadableStream({ pull: () => new Promise(() => {}) }));
    const piece = request.headers.get("x-amz-zonal-piece");
    spoilt.requests.push(piece ? `piece ${Buffer.from(piece, "base64url")}` : "batch");
    if (spoilt.poison && !piece) {
      const body = await request.clone().text();
      if (body.includes(spoilt.poison))
        return new Response("<Error><Code>InternalError</Code></Error>", { status: 500 });
    }
    return await super.serve(request, target, sourceIp);
  }
}

function counting(env: Env): Env {
  let calls = 0;
  const count = (peer: Plain): unknown => ({
    serve: async (...parameters: Parameters<Plain["serve"]>) => {
      if (++calls <= MAX_INVOCATIONS) return await peer.serve(...parameters);
      spoilt.overdrawn++;
      throw new Error("Too many Worker invocations.");
    },
  });
  const bindings = Object.entries(env).map(([name, value]) => [name, name.startsWith("PEER_") ? count(value) : value]);
  return Object.fromEntries(bindings);
}

export default {
  ...zone,

  async queue(batch, env) {
    await zone.queue!(batch, counting(env));
  },

  async fetch(request, env, execution) {
    const url = new URL(request.url);
    if (url.pathname !== "/-/peer") return await zone.fetch!(request, env, execution);
    if (request.method === "GET") return Response.json(spoilt);
    spoilt.mode = url.searchParams.get("mode") ?? "up";
    spoilt.poison = url.searchParams.get("poison") ?? "";
    spoilt.left = Number(url.searchParams.get("left") ?? 0);
    spoilt.requests = [];
    return new Response();
  },
} satisfies ExportedHandler<Env, Wake>;
