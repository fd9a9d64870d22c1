/** The control Worker. What it serves is in control/. */
import { type ControlEnv, handle } from "./control/index.ts";

export default { fetch: handle } satisfies ExportedHandler<ControlEnv>;
