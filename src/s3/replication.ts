/**
 * A bucket's replication configuration: Put-, Get- and DeleteBucketReplication.
 *
 * Schema V2 is read in full and V1 (`Prefix` in the rule) too. What is valid S3 but isn't built is refused by name: a
 * rule that loses a filter on the way would replicate everything. What the client sent is kept for GET, which always
 * shows a DeleteMarkerReplication in each rule: exo's table view crashes without it.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_ReplicationConfiguration.html
 */
import { findBucket } from "../directory.ts";
import { S3Error } from "../errors.ts";
import { getRole } from "../iam/identity.ts";
import { openSession } from "../iam/sessions.ts";
import { RefusedError, sendBatch } from "../peers/client.ts";
import { getBucket } from "../store/buckets.ts";
import { listLinks, putReplication } from "../store/links.ts";
import type { ReplicationRule } from "../store/rules.ts";
import { findZone } from "../zones.ts";
import { readDocument } from "./body.ts";
import {
  type ConfigurationDocument,
  type RuleDocument,
  readConfiguration,
  writeConfiguration,
} from "./configuration.ts";
import type { Context } from "./context.ts";
import { operation } from "./operation.ts";
import { parseXml, xmlResponse } from "./xml.ts";

/** S3 allows 2 MB; here rules and document are one row of INDEX, which may have 2 MB. */
const MAX_BYTES = 512 * 1024;

/** Authorised once the role is known that the configuration passes on: policies can limit which. */
export const PutBucketReplication = operation(
  "PUT /:bucket?replication",
  "put-bucket-replication",
  async (ctx) => {
    const bytes = await readDocument(ctx.request, ctx.caller!.payload, { maxBytes: MAX_BYTES });
    const document = readConfiguration(parseXml(bytes, "ReplicationConfiguration"));
    ctx.authorize("put-bucket-replication", { ...ctx.parameters, role: roleIdOf(document) });
    const bucket = await getBucket(ctx.env, ctx.entry.bucketId);
    if (bucket.versioning !== "Enabled") {
      throw invalid("Versioning must be 'Enabled' on the bucket to apply a replication configuration");
    }
    const role = await requireRole(ctx, document);
    const destinations = new Map<string, ReplicationRule["destination"]>();
    for (const name of new Set(document.rules.map(({ destination }) => destination.bucket))) {
      destinations.set(name, await requireDestination(ctx, role, name));
    }
    const rules = document.rules.map((rule) => resolveRule(ctx, rule, destinations));
    await putReplication(ctx.env, bucket, { role, rules, document });
    await wakeLinks(ctx, bucket.bucketId);
    return new Response(null);
  },
  { authorizes: "in handler" },
);

export const GetBucketReplication = operation("GET /:bucket?replication", "get-bucket-replication", async (ctx) => {
  const { replication } = await getBucket(ctx.env, ctx.entry.bucketId);
  if (!replication) throw new S3Error("ReplicationConfigurationNotFoundError");
  return xmlResponse(writeConfiguration(replication.document as ConfigurationDocument));
});

export const DeleteBucketReplication = operation(
  "DELETE /:bucket?replication",
  "delete-bucket-replication",
  async (ctx) => {
    const bucket = await getBucket(ctx.env, ctx.entry.bucketId);
    if (bucket.replication) await putReplication(ctx.env, bucket, null);
    return new Response(null, { status: 204 });
  },
);

function invalid(message: string): S3Error {
  return new S3Error("InvalidRequest", message);
}

/** The id in a bare UUID or an ARN that ends in one. Throws InvalidArgument. */
function roleIdOf({ role }: ConfigurationDocument): string {
  const [, id] = /^(?:arn:aws:iam::[^:]*:(?:role\/)?)?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/i.exec(role) ?? [];
  if (id === undefined) throw invalidRole();
  return id.toLowerCase();
}

async function requireRole(ctx: Context, document: ConfigurationDocument): Promise<string> {
  const id = roleIdOf(document);
  if (!(await getRole(ctx.env, ctx.entry.organizationId, id))) throw invalidRole();
  return id;
}

function invalidRole(): S3Error {
  return new S3Error("InvalidArgument", "Invalid Role specified in replication configuration");
}

/** The rule as the engine takes it, its destination found and asked. */
function resolveRule(
  ctx: Context,
  rule: RuleDocument,
  destinations: Map<string, ReplicationRule["destination"]>,
): Omit<ReplicationRule, "linkId"> {
  const { account } = rule.destination;
  if (account !== undefined && account !== ctx.entry.organizationId) throw invalid("Destination bucket must exist.");
  return {
    id: rule.id,
    priority: rule.priority ?? 0,
    isEnabled: rule.status === "Enabled",
    prefix: rule.prefix ?? rule.filter?.prefix ?? "",
    tags: Object.fromEntries((rule.filter?.tags ?? []).map(({ key, value }) => [key, value])),
    replicatesDeleteMarkers: rule.deleteMarkerReplication === "Enabled",
    storageClass: rule.destination.storageClass,
    destination: destinations.get(rule.destination.bucket)!,
  };
}

async function requireDestination(ctx: Context, role: string, name: string): Promise<ReplicationRule["destination"]> {
  const [, bucket] = /^(?:arn:aws:s3:::)?([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])$/.exec(name) ?? [];
  if (bucket === undefined) throw new S3Error("InvalidArgument", "Invalid bucket ARN");
  if (bucket === ctx.entry.name) throw invalid("Destination bucket cannot be the same as the source bucket.");
  const entry = await findBucket(ctx.env, bucket, { fresh: true });
  if (entry?.state !== "active" || entry.organizationId !== ctx.entry.organizationId) {
    throw invalid("Destination bucket must exist.");
  }
  const zone = findZone(ctx.env, entry.zone);
  if (!zone) throw new S3Error("ServiceUnavailable");
  const replication = { sourceBucketId: ctx.entry.bucketId, destinationBucketId: entry.bucketId };
  const session = { roleId: role, organizationId: entry.organizationId, ttlSeconds: 60, replication };
  try {
    const answer = await sendBatch(ctx.env, zone, await openSession(ctx.env, session), bucket, []);
    if (answer.bucket.versioning === "Enabled") return { bucketId: entry.bucketId, name: bucket };
  } catch (error) {
    if (!(error instanceof RefusedError)) throw error;
    throw error.status === 404
      ? invalid("Destination bucket must exist.")
      : new S3Error("ServiceUnavailable", error.message);
  }
  throw invalid("Destination bucket must have versioning enabled.");
}

/** What failed under the former configuration may go now. */
async function wakeLinks(ctx: Context, bucketId: number): Promise<void> {
  const links = await listLinks(ctx.env, bucketId);
  const slots = Array.from({ length: ctx.entry.slots }, (_, slot) => slot);
  const messages = links
    .filter(({ state }) => state === "active")
    .flatMap(({ linkId }) => slots.map((slot) => ({ body: { linkId, slot, hasChanged: true } })));
  for (let i = 0; i < messages.length; i += 100) await ctx.env.REPLICATION.sendBatch(messages.slice(i, i + 100));
}
