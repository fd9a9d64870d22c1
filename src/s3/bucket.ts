/**
 * Operations on buckets. Creating and deleting keeps directory and zone in step: `creating` in the directory, then the
 * zone's row, then `active`; `deleting` first, and back where the bucket isn't empty. What a crash leaves half way, the
 * sweep finishes or undoes.
 */
import { claimName, releaseName, setBucketState } from "../directory.ts";
import { isS3Error, S3Error } from "../errors.ts";
import { createBucket, deleteBucket, getBucket, requireEmpty, setVersioning } from "../store/buckets.ts";
import { findZone } from "../zones.ts";
import { checkAclHeaders } from "./acl.ts";
import { type Context, METRICS } from "./context.ts";
import { readOptionalXml, readXml } from "./document.ts";
import { serveElsewhere } from "./forward.ts";
import { operation } from "./operation.ts";
import { malformed, xml, xmlResponse } from "./xml.ts";

/** A location, and nothing that is longer. */
const MAX_DOCUMENT_BYTES = 64 * 1024;
const MAX_SLOTS = 64;

/**
 * In the zone of the LocationConstraint, else of the signature's region if that names one, else here. One's own bucket
 * again, in the same zone, is answered 200 and changes nothing.
 */
export const CreateBucket = operation(
  "PUT /:bucket",
  "create-bucket",
  async (ctx) => {
    checkBucketName(ctx.bucket);
    checkCreation(ctx);
    const send = await keepBody(ctx);
    const zone = zoneOf(ctx, await readConstraint(ctx));
    // The zone that is to hold the bucket authorises: policies may name it.
    if (zone !== ctx.env.ZONE) return await serveElsewhere(ctx, zone, send());
    ctx.authorize("create-bucket");
    if (ctx.bucket === METRICS) throw new S3Error("BucketAlreadyExists");
    const claim = {
      name: ctx.bucket,
      organizationId: ctx.identity.organization.id,
      zone,
      slots: readSlots(ctx.headers),
    };
    ctx.located = await claimName(ctx.env, claim);
    if (ctx.located.state === "creating") {
      await createBucket(ctx.env, ctx.located);
      await setBucketState(ctx.env, ctx.located, "creating", "active");
    }
    return new Response(null, { headers: { location: `/${ctx.bucket}` } });
  },
  { isAnswered: "anywhere", authorizes: "in handler" },
);

export const HeadBucket = operation("HEAD /:bucket", ["head-bucket", "list-objects"], async (ctx) => {
  await getBucket(ctx.env, ctx.entry.bucketId);
  return new Response(null, { headers: { "x-amz-access-point-alias": "false", "content-type": "application/xml" } });
});

export const DeleteBucket = operation("DELETE /:bucket", "delete-bucket", async (ctx) => {
  const { env, entry } = ctx;
  await requireEmpty(env, entry.bucketId);
  // Not in `active` any more: somebody deletes it right now, or a crash left it so; going on settles both.
  await setBucketState(env, entry, "active", "deleting");
  try {
    await deleteBucket(env, entry.bucketId);
  } catch (error) {
    if (isS3Error(error) && error.code === "BucketNotEmpty") await setBucketState(env, entry, "deleting", "active");
    throw error;
  }
  await releaseName(env, entry);
  return new Response(null, { status: 204 });
});

export const GetBucketLocation = operation("GET /:bucket?location", "get-bucket-location", async (ctx) => {
  await getBucket(ctx.env, ctx.entry.bucketId);
  return xmlResponse(xml("LocationConstraint", ctx.entry.zone));
});

export const GetBucketVersioning = operation("GET /:bucket?versioning", "get-bucket-versioning", async (ctx) => {
  const { versioning } = await getBucket(ctx.env, ctx.entry.bucketId);
  return xmlResponse(xml("VersioningConfiguration", versioning === "Unversioned" ? [] : [["Status", versioning]]));
});

export const PutBucketVersioning = operation("PUT /:bucket?versioning", "put-bucket-versioning", async (ctx) => {
  const root = await readXml(ctx, "VersioningConfiguration");
  const status = root.allow("Status", "MfaDelete").textOf("Status");
  const mfaDelete = root.textOf("MfaDelete") ?? "Disabled";
  if (mfaDelete === "Enabled") throw new S3Error("NotImplemented", "MFA delete is not implemented.");
  if (mfaDelete !== "Disabled") throw malformed();
  if (status === undefined) throw new S3Error("IllegalVersioningConfigurationException");
  if (status !== "Enabled" && status !== "Suspended") throw malformed();
  await setVersioning(ctx.env, ctx.entry.bucketId, status);
  return new Response(null);
});

/** No bucket can have a CORS configuration yet; exo adds its first rule only after this very answer. */
export const GetBucketCors = operation("GET /:bucket?cors", "get-bucket-cors", async (ctx) => {
  await getBucket(ctx.env, ctx.entry.bucketId);
  throw new S3Error("NoSuchCORSConfiguration", undefined, { BucketName: ctx.bucket });
});

export const GetBucketOwnershipControls = operation(
  "GET /:bucket?ownershipControls",
  "get-bucket-ownership-controls",
  async (ctx) => {
    await getBucket(ctx.env, ctx.entry.bucketId);
    return xmlResponse(xml("OwnershipControls", [["Rule", [["ObjectOwnership", "BucketOwnerEnforced"]]]]));
  },
);

const RESERVED = /^(xn--|sthree-|amzn-s3-demo-)|(-s3alias|--ol-s3|--x-s3|--table-s3|\.mrap)$/;

/** https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html. Throws InvalidBucketName. */
export function checkBucketName(name: string): void {
  const isName = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(name);
  const isAddress = /^\d+\.\d+\.\d+\.\d+$/.test(name);
  if (!isName || isAddress || name.includes("..") || RESERVED.test(name)) {
    throw new S3Error("InvalidBucketName", undefined, { BucketName: name });
  }
}

/** Refuses what the headers ask of a new bucket and isn't built. */
function checkCreation(ctx: Context): void {
  checkAclHeaders(ctx);
  if ((ctx.headers.get("x-amz-bucket-object-lock-enabled") ?? "false") !== "false") {
    throw new S3Error("NotImplemented", "Object lock is not implemented.");
  }
  if ((ctx.headers.get("x-amz-object-ownership") ?? "BucketOwnerEnforced") !== "BucketOwnerEnforced") {
    throw new S3Error("NotImplemented", "Object ownership other than BucketOwnerEnforced is not implemented.");
  }
}

/** How many Sequencers put the bucket's keys in order: for good, and beyond S3. */
function readSlots(headers: Headers): number {
  const text = headers.get("x-zonal-slots") ?? "1";
  const slots = /^[0-9]{1,2}$/.test(text) ? Number(text) : 0;
  if (slots >= 1 && slots <= MAX_SLOTS) return slots;
  throw new S3Error("InvalidArgument", `x-zonal-slots must be between 1 and ${MAX_SLOTS}`, {
    ArgumentName: "x-zonal-slots",
    ArgumentValue: text,
  });
}

/** The document says which zone to send the request to, document and all: so it is kept. Gives the request anew. */
async function keepBody(ctx: Context): Promise<() => Request> {
  const { request } = ctx;
  if (!request.body) return () => request;
  const length = request.headers.get("content-length");
  if (length === null) throw new S3Error("MissingContentLength");
  if (!(Number(length) <= MAX_DOCUMENT_BYTES)) throw new S3Error("MaxMessageLengthExceeded");
  const body = await request.arrayBuffer();
  const renew = () => new Request(request.url, { method: request.method, headers: request.headers, body });
  ctx.request = renew();
  return renew;
}

async function readConstraint(ctx: Context): Promise<string | undefined> {
  const root = await readOptionalXml(ctx, "CreateBucketConfiguration");
  if (!root) return undefined;
  root.allow("LocationConstraint", "Location", "Bucket", "Tags");
  if (root.children.some(({ name }) => name !== "LocationConstraint")) {
    throw new S3Error("NotImplemented", "Directory buckets and bucket tags are not implemented.");
  }
  return root.textOf("LocationConstraint") || undefined;
}

function zoneOf(ctx: Context, constraint: string | undefined): string {
  if (constraint === undefined) return findZone(ctx.env, ctx.caller!.region)?.name ?? ctx.env.ZONE;
  const zone = findZone(ctx.env, constraint);
  if (!zone) throw new S3Error("InvalidLocationConstraint", undefined, { LocationConstraint: constraint });
  return zone.name;
}
