/** A zone that also prints: `GET /-/print` says one thing in each way that a Worker has. */
import type { Wake } from "../../src/replication/source.ts";
import zone from "../../src/zone.ts";

export { Peer, Sequencer } from "../../src/zone.ts";

export default {
  ...zone,

  async fetch(request, env, execution) {
    if (new URL(request.url).pathname !== "/-/print") return await zone.fetch!(request, env, execution);
    console.log(JSON.stringify({ time: new Date().toISOString(), zone: env.ZONE, id: "printed", status: 200 }));
    console.log("a plain\nmessage");
    console.warn({ an: "object" });
    console.error(new Error("an error").stack);
    return new Response((env as { LOG?: string }).LOG);
  },
} satisfies ExportedHandler<Env, Wake>;
