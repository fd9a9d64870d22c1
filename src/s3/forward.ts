/**
 * Any zone's endpoint serves any bucket: a request about a bucket that lives in another zone is answered there.
 *
 * It goes by the service binding, before its body is read, with its own headers, so that its signature holds there too.
 * One hop at most. A zone that no binding leads to gets the client sent there by S3's 301.
 * What surprised us: a Request that is passed on folds `..` and `%2E%2E` in its URL, so the raw target goes beside it;
 * and `request.cf`, where the edge tells the accept-encoding that the client signed, doesn't come along.
 */
import { S3Error } from "../errors.ts";
import { logError } from "../log.ts";
import { findZone, peer } from "../zones.ts";
import type { Context } from "./context.ts";

/** The answer of the zone where the bucket lives, or undefined if that is here or there is no such bucket. */
export async function forward(ctx: Context): Promise<Response | undefined> {
  const zoneName = ctx.located?.zone;
  if (zoneName === undefined || zoneName === ctx.env.ZONE) return undefined;
  if (ctx.arrival.isForwarded) return await settle(ctx);
  const answer = await serveElsewhere(ctx, zoneName);
  if (answer.headers.get("x-amz-bucket-region") === zoneName) return answer;
  // The bucket isn't there any more: our row was old. What has no body can be asked again.
  const hasMoved = await ctx.relocate();
  return hasMoved && !ctx.request.bodyUsed ? await forward(ctx) : answer;
}

/** Answers a request at another zone's S3 door. Throws PermanentRedirect, ServiceUnavailable. */
export async function serveElsewhere(ctx: Context, zoneName: string, request = ctx.request): Promise<Response> {
  if (ctx.arrival.isForwarded) throw new S3Error("ServiceUnavailable");
  const zone = findZone(ctx.env, zoneName);
  const binding = zone && peer(ctx.env, zone);
  if (!binding) {
    throw new S3Error("PermanentRedirect", undefined, {
      Bucket: ctx.bucket,
      Endpoint: zone && new URL(zone.endpoint).host,
    });
  }
  try {
    const answer = await binding.serve(asSigned(request), ctx.arrival.target, ctx.arrival.sourceIp);
    ctx.forwardedTo = zoneName;
    return answer;
  } catch (error) {
    logError(ctx.env, `the zone ${zoneName} can't be reached`, error);
    // The other zone's door answers every error itself: what throws is the way there.
    throw new S3Error("ServiceUnavailable", `The zone ${zoneName} can't be reached at the moment. Please try again.`);
  }
}

/** Another zone believed the bucket to be here. It may be, by the directory's database; else that zone has to look again. */
async function settle(ctx: Context): Promise<undefined> {
  await ctx.relocate();
  if (ctx.located && ctx.located.zone !== ctx.env.ZONE) throw new S3Error("ServiceUnavailable");
}

/** s3cmd's GET has a Content-Length of 0, and so a body here; but a binding takes no GET with one. */
function asSigned(request: Request): Request {
  const { url, method } = request;
  const signed = acceptEncodingOf(request) ?? request.headers.get("accept-encoding");
  const hasNoBody = method === "GET" || method === "HEAD";
  const hasOddBody = hasNoBody && request.body !== null;
  if (!hasOddBody && signed === request.headers.get("accept-encoding")) return request;
  const headers = new Headers(request.headers);
  if (signed !== null) headers.set("accept-encoding", signed);
  return hasNoBody ? new Request(url, { method, headers }) : new Request(request, { headers });
}

/** The client's own accept-encoding, which Cloudflare's edge replaces on the way to a Worker. */
export function acceptEncodingOf(request: Request): string | undefined {
  const cf = request.cf as { clientAcceptEncoding?: string } | undefined;
  return cf?.clientAcceptEncoding;
}
