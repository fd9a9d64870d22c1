/**
 * An operation of the control API: a route, who may call it, and what it does. It authenticates and authorises between
 * match and handle, so that none can forget it. Access is decided before existence.
 */
import { createHash } from "node:crypto";
import type { IRequest } from "itty-router";
import { isS3Error, S3Error } from "../errors.ts";
import type { Actor, Change } from "../iam/audit.ts";
import { verifyExo2 } from "../iam/exo2.ts";
import { type AccessRequest, type Identity, identify, isAllowed } from "../iam/identity.ts";
import { noteUse } from "../iam/keys.ts";
import type { ControlEnv } from "./environment.ts";
import { parseObject, rawTarget, readBody, sourceIp } from "./request.ts";

export interface Context {
  env: ControlEnv;
  identity: Identity;
  actor: Actor;
  /** parts of the path */
  params: Record<string, string>;
  /** fields of the JSON body; none without a body */
  body: Record<string, unknown>;
}

export interface Operation {
  method: string;
  path: string;
  fetch(request: IRequest, env: ControlEnv, execution: ExecutionContext): Promise<Response>;
}

interface Access {
  service: AccessRequest["service"];
  /** kebab-case name */
  operation: string;
  /** what a policy can ask for in `parameters` */
  parameters?(context: Context): Record<string, unknown>;
  /** in place of what the caller's policies say */
  isAllowed?(context: Context, request: AccessRequest): boolean;
}

/** `route` is a method and a path below `/v2` as itty-router writes it. What `handle` gives is answered as JSON. */
export function operation(
  route: `${string} /${string}`,
  access: Access,
  handle: (context: Context) => Promise<object>,
): Operation {
  const [method, path] = route.split(" ") as [string, string];
  return {
    method,
    path,
    async fetch(request, env, execution) {
      const context = await authenticate(request, env);
      const asked: AccessRequest = {
        service: access.service,
        operation: access.operation,
        parameters: access.parameters?.(context) ?? {},
        zone: "",
        sourceIp: context.actor.sourceIp,
      };
      const allows = access.isAllowed ?? (({ identity }, request) => isAllowed(identity, request));
      if (!allows(context, asked)) throw new S3Error("AccessDenied");
      const noted = noteUse(env, context.identity.accessKeyId);
      if (noted) execution.waitUntil(noted);
      return Response.json(await handle(context));
    },
  };
}

/** Throws Unauthorized. Every call asks the database who the key is: there are few, and a revoked key must not revoke others. */
async function authenticate(request: IRequest, env: ControlEnv): Promise<Context> {
  const body = await readBody(request);
  const authorization = request.headers.get("authorization");
  let identity: Identity | undefined;
  const { signature } = await verifyExo2(
    { method: request.method, ...rawTarget(request), authorization, body },
    {
      now: Date.now(),
      secretOf: async (accessKeyId) => {
        const holder = await identifyKey(env, accessKeyId);
        identity = holder?.identity;
        return holder?.secret;
      },
    },
  );
  const actor: Actor = {
    organizationId: identity!.organization.id,
    accessKeyId: identity!.accessKeyId,
    sourceIp: sourceIp(request, env),
    request: createHash("sha256").update(signature).digest("hex"),
  };
  return { env, identity: identity!, actor, params: request.params, body: parseObject(body) };
}

/** undefined for a key that is unknown or whose time is over: both answer like a wrong signature. */
async function identifyKey(env: ControlEnv, accessKeyId: string) {
  try {
    return await identify(env, accessKeyId, undefined, { fresh: true });
  } catch (error) {
    if (isS3Error(error) && (error.code === "InvalidAccessKeyId" || error.code === "ExpiredToken")) return undefined;
    throw error;
  }
}

/** What changes something answers an Operation that has succeeded already: `pending` would cost `exo` three seconds. */
export function toOperation({ id, operation, resource }: Change): object {
  return { id, state: "success", reference: { id: resource, ...referenceOf(operation, resource) } };
}

function referenceOf(operation: string, resource: string): { link: string; command: string } {
  if (operation.endsWith("-api-key")) return { link: `/v2/api-key/${resource}`, command: "get-api-key" };
  if (operation.endsWith("-organization-policy")) {
    return { link: "/v2/iam-organization-policy", command: "get-iam-organization-policy" };
  }
  return { link: `/v2/iam-role/${resource}`, command: "get-iam-role" };
}
