/**
 * A zone whose log can be read: `GET /-/log` at its endpoint gives the lines that it wrote since the last time. After
 * `POST /-/spoil` the next statement on its INDEX meets a mistake of ours.
 */
import type { Wake } from "../src/replication/source.ts";
import zone, { Peer as Plain, Sequencer } from "../src/zone.ts";

export { Sequencer };

const lines: string[] = [];
let isSpoilt = false;

console.log = (line: string) => lines.push(line);
console.error = (line: string) => lines.push(line);

export class Peer extends Plain {
  constructor(ctx: ExecutionContext, env: Env) {
    super(ctx, spoilable(env));
  }
}

function spoilable(env: Env): Env {
  const INDEX = new Proxy(env.INDEX, {
    get(target, name) {
      if (isSpoilt) {
        isSpoilt = false;
        throw new TypeError("a mistake of ours");
      }
      const value = Reflect.get(target, name);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  return { ...env, INDEX };
}

export default {
  ...zone,

  async fetch(request, env, execution) {
    const { pathname } = new URL(request.url);
    if (pathname === "/-/log") return Response.json(lines.splice(0).map((line) => JSON.parse(line)));
    if (pathname !== "/-/spoil") return await zone.fetch!(request, spoilable(env), execution);
    isSpoilt = true;
    return new Response();
  },
} satisfies ExportedHandler<Env, Wake>;
