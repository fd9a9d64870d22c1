/** The bundled zone Worker as `switch.ts` finds it beside itself: src/zone.ts, or the entry file of a test. */
declare module "zone.mjs" {
  import type { WorkerEntrypoint } from "cloudflare:workers";

  export const Peer: new (execution: ExecutionContext, env: Env) => WorkerEntrypoint<Env>;
  const zone: ExportedHandler<Env>;
  export default zone;
}
