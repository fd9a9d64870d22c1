/**
 * What only whoever runs this deployment may do: make organizations. It asks for the admin token, a secret of the
 * control Worker, and for no signature, because before the first organization there is no key to sign with.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { S3Error } from "../errors.ts";
import { createOrganization } from "../iam/organizations.ts";
import type { ControlEnv } from "./environment.ts";
import { refuseUnknown, text } from "./fields.ts";
import { parseObject, readBody, sourceIp } from "./request.ts";

/** `{"name"}` makes an organization with its Owner role and a key. Throws AccessDenied, Conflict if the name is taken. */
export async function postOrganization(request: Request, env: ControlEnv): Promise<object> {
  checkToken(request.headers.get("authorization"), env.ADMIN_TOKEN);
  const body = parseObject(await readBody(request));
  refuseUnknown(body, ["name"]);
  const { id, name, key, secret } = await createOrganization(env, text(body, "name", 1, 255), sourceIp(request, env));
  return { id, name, key, secret };
}

/** Compares digests, which have one length, in constant time. No token configured: nobody is admin. */
function checkToken(authorization: string | null, token: string | undefined): void {
  const digest = (value: string) => createHash("sha256").update(value).digest();
  const given = /^Bearer (.+)$/.exec(authorization ?? "")?.[1];
  if (!token || !given || !timingSafeEqual(digest(given), digest(token))) throw new S3Error("AccessDenied");
}
