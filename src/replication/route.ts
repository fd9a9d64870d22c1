/**
 * The way that a link's versions go: the role that is assumed, the destination bucket's zone, and a session that the
 * zone takes. And what a failure rests on, so that its mending is seen.
 */
import { type DirectoryEntry, findBucket } from "../directory.ts";
import { assumeRole, type Identity, isAllowed, roleRevision } from "../iam/identity.ts";
import { openSession } from "../iam/sessions.ts";
import { type Credentials, RefusedError, sendBatch } from "../peers/client.ts";
import type { BatchAnswer } from "../peers/frames.ts";
import type { Bucket } from "../store/buckets.ts";
import type { Link } from "../store/links.ts";
import { findZone, type Zone } from "../zones.ts";

/** Why a version is FAILED: S3's words of its replication events, and ours where it has none. */
export type FailureReason =
  | "AssumeRoleNotPermitted"
  | "SrcGetObjectNotPermitted"
  | "SrcVersionNotFound"
  | "DstBucketNotFound"
  | "DstBucketUnversioned"
  | "DstPutObjectNotPermitted"
  | "DstObjectHardDeleted"
  | "VersionIdConflict";

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
  const entry = await findDestination(env, link);
  const zone = entry && findZone(env, entry.zone);
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

/** One that is being deleted may turn out not to be empty, so it counts until it is gone. */
async function findDestination(env: Env, { destination }: Link): Promise<DirectoryEntry | undefined> {
  const isIt = (entry: DirectoryEntry | undefined) => entry?.bucketId === destination.bucketId;
  const entry = await findBucket(env, destination.name);
  if (isIt(entry)) return entry;
  const fresh = await findBucket(env, destination.name, { fresh: true });
  return isIt(fresh) ? fresh : undefined;
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
async function probe(env: Env, { zone, credentials, link }: Route): Promise<BatchAnswer> {
  return await sendBatch(env, zone, credentials, link.destination.name, []);
}

/** Clocks disagree, and then no request gets through: the link is down until they agree. */
const CLOCK_CODES = ["RequestTimeTooSkewed", "ExpiredToken"];

/** Whether the destination's zone answers, be it with a refusal. */
export async function isReachable(env: Env, route: Route): Promise<boolean> {
  try {
    await probe(env, route);
    return true;
  } catch (error) {
    if (!(error instanceof RefusedError) || CLOCK_CODES.includes(error.code)) return false;
    return error.status < 500 && error.status !== 429;
  }
}

/**
 * What a failure rests on, and what its mending would change. Kept beside it as text: `role ...`, `destination ...`, or
 * neither where nothing that can be watched would help.
 */
export class Causes {
  /** undefined: the role is gone */
  readonly #role: { id: string; revision: number | undefined };
  /** as the destination knows the role: its refusals rest on that, and it may be older */
  #roleThere: number | undefined;
  #destination: number | undefined;

  constructor(role: { id: string; revision: number | undefined }) {
    this.#role = role;
  }

  learn({ bucket, role }: BatchAnswer): void {
    this.#destination = bucket.revision;
    this.#roleThere = role.revision;
  }

  of(reason: FailureReason): string {
    if (reason === "SrcVersionNotFound") return "source";
    if (reason === "AssumeRoleNotPermitted" || reason === "SrcGetObjectNotPermitted")
      return this.#roleText(this.#role.revision);
    if (reason === "DstPutObjectNotPermitted") return this.#roleText(this.#roleThere ?? this.#role.revision);
    return destinationText(reason === "DstBucketNotFound" ? undefined : this.#destination);
  }

  #roleText(revision: number | undefined): string {
    return `role ${this.#role.id} ${revision ?? "absent"}`;
  }
}

function destinationText(revision: number | undefined): string {
  return `destination ${revision ?? "absent"}`;
}

/** Causes as far as the source alone knows them: with the role's revision that it has just gone by, if it has. */
export async function causesOf(env: Env, { organizationId, replication }: Bucket, role?: Identity): Promise<Causes> {
  const id = replication!.role;
  return new Causes({ id, revision: role?.role.revision ?? (await roleRevision(env, organizationId, id)) });
}

/** How things stand now; `destination` undefined if it can't be asked. */
export async function causesNow(
  env: Env,
  link: Link,
  source: Bucket,
): Promise<{ role: string; destination: string | undefined }> {
  const causes = await causesOf(env, source);
  return { role: causes.of("AssumeRoleNotPermitted"), destination: await askDestination(env, link, source) };
}

async function askDestination(env: Env, link: Link, source: Bucket): Promise<string | undefined> {
  try {
    return destinationText((await probe(env, await findRoute(env, link, source))).bucket.revision);
  } catch (error) {
    const isAbsent =
      (error instanceof Obstacle && error.reason === "DstBucketNotFound") ||
      (error instanceof RefusedError && [403, 404].includes(error.status) && !CLOCK_CODES.includes(error.code));
    return isAbsent ? destinationText(undefined) : undefined;
  }
}
