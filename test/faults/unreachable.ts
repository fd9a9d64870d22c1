/**
 * Zones whose doors for other zones can be spoilt: `POST /-/peer?mode=...` at a zone's endpoint. `down` throws as a zone
 * does that can't be reached, `hang` never answers, `poison=KEY` answers 500 to whatever names that key, `cut` lets N
 * requests pass and then goes down. GET tells how many requests came. Nothing in src knows of it.
 */
import zone, { Peer as Plain, Sequencer } from "../../src/zone.ts";

export { Sequencer };

const spoilt = { mode: "up", poison: "", left: 0, requests: [] as string[] };

export class Peer extends Plain {
  override async serve(request: Request, target: string, sourceIp: string): Promise<Response> {
    if (!target.includes("?replicate")) return await super.serve(request, target, sourceIp);
    if (spoilt.mode === "cut" && spoilt.left-- <= 0) spoilt.mode = "down";
    if (spoilt.mode === "down") throw new Error("Network connection lost.");
    if (spoilt.mode === "hang") await new Promise(() => setInterval(() => {}, 1000));
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

export default {
  ...zone,
  async fetch(request, env, execution) {
    const url = new URL(request.url);
    if (url.pathname !== "/-/peer") return await zone.fetch!(request, env, execution);
    if (request.method === "GET") return Response.json(spoilt.requests);
    spoilt.mode = url.searchParams.get("mode") ?? "up";
    spoilt.poison = url.searchParams.get("poison") ?? "";
    spoilt.left = Number(url.searchParams.get("left") ?? 0);
    spoilt.requests = [];
    return new Response();
  },
} satisfies ExportedHandler<Env, never>;
