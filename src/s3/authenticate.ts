/**
 * Who sends a request: its signature is verified with the secret of the key that it names.
 */
import { type Identity, identify } from "../iam/identity.ts";
import { noteUse } from "../iam/keys.ts";
import { hoistedHeaders, verify } from "../iam/signature.ts";
import { zones } from "../zones.ts";
import type { Caller, Context } from "./context.ts";
import { acceptEncodingOf } from "./forward.ts";

/** The caller, or undefined for a request without a signature. Throws what S3 says of a signature that isn't right. */
export async function authenticate(ctx: Context): Promise<Caller | undefined> {
  const { request, env, target } = ctx;
  let identity: Identity | undefined;
  const verified = await verify(
    {
      method: request.method,
      rawPath: target.rawPath,
      rawQuery: target.rawQuery,
      headers: request.headers,
      acceptEncodings: [acceptEncodingOf(request) ?? "identity", "identity"],
    },
    {
      regions: [env.ZONE, ...zones(env).map((zone) => zone.name), "us-east-1", "auto"],
      now: Date.now(),
      secretOf: async (accessKeyId, sessionToken) => {
        const holder = await identify(env, accessKeyId, sessionToken);
        identity = holder.identity;
        return holder.secret;
      },
    },
  );
  if (!verified) return undefined;
  const noted = verified.sessionToken === undefined ? noteUse(env, verified.accessKeyId) : undefined;
  if (noted) ctx.execution.waitUntil(noted);
  const headers = verified.isPresigned ? withHoisted(request.headers, target.rawQuery) : request.headers;
  return { identity: identity!, region: verified.region, payload: verified.payload, headers };
}

/** A presigned URL carries headers in its query; one that was sent as a header stands. */
function withHoisted(headers: Headers, rawQuery: string): Headers {
  const merged = new Headers(hoistedHeaders(rawQuery));
  for (const [name, value] of headers) merged.set(name, value);
  return merged;
}
