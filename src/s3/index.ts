/**
 * The S3 door: address, authenticate, find the bucket (it may live in another zone), operation (authorise, answer),
 * errors rendered once, and what came of it written down (record.ts).
 *
 * All operations are gathered here and nowhere else. Those with more conditions are tried first, so that ListObjects,
 * which every GET of a bucket looks like, comes last; and what no operation wants is MethodNotAllowed.
 */
import { findBucket } from "../directory.ts";
import { S3Error } from "../errors.ts";
import * as acl from "./acl.ts";
import { authenticate } from "./authenticate.ts";
import * as bucket from "./bucket.ts";
import { type Arrival, Context, METRICS } from "./context.ts";
import * as copy from "./copy.ts";
import * as deletion from "./delete.ts";
import { hostId, renderError } from "./errors.ts";
import * as listing from "./listing.ts";
import * as metrics from "./metrics.ts";
import * as multipart from "./multipart.ts";
import * as object from "./object.ts";
import { Operation } from "./operation.ts";
import * as parts from "./parts.ts";
import { record } from "./record.ts";
import * as replica from "./replica.ts";
import * as replication from "./replication.ts";
import * as service from "./service.ts";
import * as tagging from "./tagging.ts";
import { unsupported } from "./unsupported.ts";

const MODULES = [
  service,
  metrics,
  bucket,
  acl,
  listing,
  object,
  deletion,
  copy,
  multipart,
  parts,
  replication,
  replica,
  tagging,
];
/** Named as they are exported. */
const OPERATIONS = MODULES.flatMap((module) => Object.entries<unknown>(module))
  .flatMap(([name, value]) => (value instanceof Operation ? Object.assign(value, { name }) : []))
  .concat(unsupported)
  .sort((one, other) => other.conditions - one.conditions);

/** A sub-resource that an operation doesn't name means another one: `DELETE /bucket?acl` must not delete the bucket. */
const PARAMETERS = ["id", "partNumber"];
/** By path: `metrics` is one of a bucket and means nothing to an object. */
const SUBRESOURCES = new Map(
  [...Map.groupBy(OPERATIONS, ({ path }) => path)].map(([path, operations]) => {
    const names = operations.flatMap((operation) => operation.subresources);
    return [path, new Set(names.filter((name) => !PARAMETERS.includes(name)))];
  }),
);

/** By method and path. Not by a router: the shape of an S3 path is known once bucket and key are, and a router folds `..`. */
const ROUTES = Map.groupBy(OPERATIONS, ({ method, path }) => `${method} ${path}`);

/** Answers a request at this zone's S3 endpoint, or one that another zone passed on. Never throws. */
export async function serve(
  request: Request,
  env: Env,
  execution: ExecutionContext,
  arrival: Arrival,
): Promise<Response> {
  const ctx = new Context(request, env, execution, arrival);
  const response = stamp(ctx, await answer(ctx));
  record(ctx, response);
  return response;
}

async function answer(ctx: Context): Promise<Response> {
  try {
    await identify(ctx);
    const operations = ROUTES.get(`${ctx.method} ${ctx.path}`) ?? [];
    const meant = operations.find((operation) => isMeant(operation, ctx));
    if (!meant) throw new S3Error("MethodNotAllowed");
    return await meant.handle(ctx);
  } catch (error) {
    return renderError(error, ctx);
  }
}

function isMeant(operation: Operation, ctx: Context): boolean {
  if (!operation.matches(ctx)) return false;
  const subresources = SUBRESOURCES.get(operation.path)!;
  return ctx.target.query.names().every((name) => !subresources.has(name) || operation.names(name));
}

/** Finds bucket and caller at once: neither waits for the other, and a refusal can still tell the bucket's zone. */
async function identify(ctx: Context): Promise<void> {
  const { bucket: name } = ctx.target;
  const [located, caller] = await Promise.allSettled([
    name === undefined || name === METRICS ? undefined : findBucket(ctx.env, name),
    authenticate(ctx),
  ]);
  if (located.status === "fulfilled") ctx.located = located.value;
  if (caller.status === "rejected") throw caller.reason;
  ctx.caller = caller.value;
  if (located.status === "rejected") throw located.reason;
}

/** What every answer carries. One that another zone gave has it already. */
function stamp(ctx: Context, response: Response): Response {
  if (response.headers.has("x-amz-request-id")) return response;
  response.headers.set("x-amz-request-id", ctx.requestId);
  response.headers.set("x-amz-id-2", hostId(ctx));
  if (ctx.located) response.headers.set("x-amz-bucket-region", ctx.located.zone);
  return response;
}
