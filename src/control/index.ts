/**
 * The control door: the API that the `exo` CLI, `zonal` and the portal speak, below `/v2`.
 *
 * Errors are JSON, `{"message"}`. A user's mistake is never a 5xx or a 429: `exo` sends such a request four times more
 * and then throws the message away. A path that isn't known is 404 for anybody.
 */
import { type IRequest, Router } from "itty-router";
import { isS3Error, S3Error } from "../errors.ts";
import { logError } from "../log.ts";
import { postOrganization } from "./admin.ts";
import type { ControlEnv } from "./environment.ts";
import * as iam from "./iam.ts";
import type { Operation } from "./operation.ts";
import * as sos from "./sos.ts";

export type { ControlEnv } from "./environment.ts";

type Arguments = [env: ControlEnv, execution: ExecutionContext];

const router = Router<IRequest, Arguments>({ base: "/v2" });
router.get("/zone", (_request, env) => Response.json(sos.listZones(env)));
router.post("/admin/organization", async (request, env) => Response.json(await postOrganization(request, env)));
for (const { method, path, fetch } of operations()) {
  router[method.toLowerCase() as "get" | "post" | "put" | "delete"](path, fetch);
}

/** Of two that match, the first one answers: `/iam-role/:id` would take `ID:policy` for an id. */
function operations(): Operation[] {
  const all = [...Object.values(iam), sos.ListSosBucketsUsage];
  const isVerb = ({ path }: Operation) => path.includes("[:]");
  return [...all.filter(isVerb), ...all.filter((operation) => !isVerb(operation))];
}

export async function handle(request: Request, env: ControlEnv, execution: ExecutionContext): Promise<Response> {
  try {
    if (!URL.canParse(request.url)) throw new S3Error("BadRequest", "the request's host can't be understood");
    const response: Response | undefined = await router.fetch(request as IRequest, env, execution);
    if (!response) throw new S3Error("NotFound");
    return response;
  } catch (error) {
    return renderError(error, env);
  }
}

function renderError(error: unknown, env: ControlEnv): Response {
  if (isS3Error(error)) return Response.json({ message: error.message }, { status: error.status });
  logError(env, "a request to the control API failed", error);
  return renderError(new S3Error("InternalError"), env);
}
