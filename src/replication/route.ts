/**
 * The way that a link's versions go: the role that is assumed, the destination bucket's zone, and a session that the
 * zone takes. And what a failure rests on, so that its mending is seen.
 */
import { findBucket } from "../directory.ts";
import { assumeRole, type Identity, isAllowed, roleRevision } from "../iam/identity.ts";
import { openSession } from "../iam/sessions.ts";
import { type Credentials, RefusedError, sendBatch } from "../peers/client.ts";
import type { BatchAnswer } from "../peers/frames.ts";
import type { Bucket } from "../store/buckets.ts";
import type { Link } from "../store/links.ts";
import { findZone, type Zone } from "../zones.ts";

/** Why a version is FAILED, in the words of S3's replication events. */
export type FailureReason =
  | "AssumeRoleNotPermitted"
  | "SrcGetObjectNotPermitted"
  | "SrcVersionNotFound"
  | "DstBucketNotFound"
  | "DstBucketUnversioned"
  | "DstPutObjectNotPermitted"
  | "DstObjectHardDeleted"
  | "VersionIdConflict";

const RESTS_ON_ROLE: readonly FailureReason[] = [
  "AssumeRoleNotPermitted",
  "SrcGetObjectNotPermitted",
  "DstPutObjectNotPermitted",
];

/** Something that keeps all of a link's versions back until somebody mends it. */
export class Obstacle extends Error {
  override readonly name = "Obstacle";
  readonly reason: FailureReason;

  constructor(reason: FailureReason) {
    super(reason);
    this.reason = reason;
  }
}

export interface Route {
  link: Link;
  source: Bucket;
  zone: Zone;
  role: Identity;
  credentials: Credentials;
}

/** Seconds that a session is good for: longer than any drain. */
const SESSION_SECONDS = 900;

/** Throws Obstacle, or SlowDown while the control database is away. */
export async function findRoute(env: Env, link: Link, source: Bucket): Promise<Route> {
  const { organizationId, replication } = source;
  const role = await assumeRole(env, organizationId, replication!.role, env.ZONE);
  if (!role) throw new Obstacle("AssumeRoleNotPermitted");
  const entry = await findBucket(env, link.destination.name);
  if (entry?.bucketId !== link.destination.bucketId || entry.state !== "active") {
    throw new Obstacle("DstBucketNotFound");
  }
  const zone = findZone(env, entry.zone);
  if (!zone) throw new Obstacle("DstBucketNotFound");
  const claims = { sourceBucketId: link.bucketId, destinationBucketId: link.destination.bucketId };
  const credentials = await openSession(env, {
    roleId: role.role.id,
    organizationId,
    ttlSeconds: SESSION_SECONDS,
    replication: claims,
  });
  return { link, source, zone, role, credentials };
}

/** Whether the role may read a key at the source. */
export function mayRead(env: Env, { role, source, link, zone }: Route, key: string): boolean {
  const parameters = {
    bucket: source.name,
    key,
    destination_bucket: link.destination.name,
    destination_zone: zone.name,
  };
  return isAllowed(role, { service: "sos", operation: "get-object", parameters, zone: env.ZONE, sourceIp: "" });
}

/** An empty batch: the destination says how its bucket stands. Throws RefusedError, or ServiceUnavailable if it can't be reached. */
export async function probe(env: Env, { zone, credentials, link }: Route): Promise<BatchAnswer["bucket"]> {
  return (await sendBatch(env, zone, credentials, link.destination.name, [])).bucket;
}

/** Whether the destination's zone answers, be it with a refusal. */
export async function isReachable(env: Env, route: Route): Promise<boolean> {
  try {
    await probe(env, route);
    return true;
  } catch (error) {
    return error instanceof RefusedError && error.status < 500 && error.status !== 429;
  }
}

/** What mending would change: the role with its policies, and the destination bucket. */
export interface Causes {
  role: string;
  /** undefined: the destination can't be asked */
  destination: string | undefined;
}

export function causeOf(reason: FailureReason, causes: Causes): string {
  return RESTS_ON_ROLE.includes(reason) ? causes.role : (causes.destination ?? ABSENT);
}

const ABSENT = "destination absent";

/** How things stand now. */
export async function causesNow(env: Env, link: Link, source: Bucket): Promise<Causes> {
  return { role: await roleCause(env, source), destination: await askDestination(env, link, source) };
}

/** The role, and the revision that every change of it or of what stands above it raises. */
export async function roleCause(env: Env, source: Bucket): Promise<string> {
  const { role } = source.replication!;
  return `role ${role} ${(await roleRevision(env, source.organizationId, role)) ?? "absent"}`;
}

export function destinationCause({ revision }: BatchAnswer["bucket"]): string {
  return `destination ${revision}`;
}

async function askDestination(env: Env, link: Link, source: Bucket): Promise<string | undefined> {
  try {
    return destinationCause(await probe(env, await findRoute(env, link, source)));
  } catch (error) {
    if (error instanceof Obstacle) return error.reason === "DstBucketNotFound" ? ABSENT : undefined;
    if (error instanceof RefusedError && (error.status === 404 || error.status === 403)) return ABSENT;
    return undefined;
  }
}
