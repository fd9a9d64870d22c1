/**
 * Who is calling, and whether they may.
 *
 * A key, its role and its organization come in one join and stay in this isolate's memory for 20 s, so a revocation
 * acts everywhere within that. Only when the control database can't be reached does an older answer stand in, for up
 * to 15 minutes. Plain D1 statements always run at the primary; only a session would let a replica answer.
 */
import { Cache, type CacheTimes } from "../cache.ts";
import { S3Error } from "../errors.ts";
import { openSecret } from "./keys.ts";
import { type Decision, decide, type Policy, type Variables } from "./policy.ts";
import type { Role } from "./roles.ts";
import { type ReplicationClaims, readSession } from "./sessions.ts";

export type { Role } from "./roles.ts";

type IdentityEnv = Pick<Env, "CONTROL" | "ROOT_KEY">;
type ControlDatabaseEnv = Pick<Env, "CONTROL">;

export interface Identity {
  organization: { id: string; name: string };
  accessKeyId: string;
  role: Role;
  organizationPolicy: Policy | null;
  /** sealed claims of a replication session; only such may set a version id, ETag or date */
  replication?: ReplicationClaims;
}

export interface AccessRequest {
  service: "sos" | "iam";
  /** kebab-case S3 operation name */
  operation: string;
  /** undefined counts as absent */
  parameters: Record<string, unknown>;
  zone: string;
  sourceIp: string;
}

/** A role with what stands above it. */
interface Grant {
  organization: { id: string; name: string };
  organizationPolicy: Policy | null;
  role: Role;
}

interface KeyHolder extends Grant {
  secret: string;
  expiresAt: number | null;
}

interface GrantRow {
  organization_id: string;
  organization_name: string;
  organization_policy: string | null;
  role_id: string;
  role_name: string;
  role_policy: string | null;
  permissions: string;
  revision: number;
  is_owner: number;
}

interface KeyRow extends GrantRow {
  secret: string;
  expires_at: number | null;
}

const GRANT_COLUMNS = `organizations.id AS organization_id, organizations.name AS organization_name,
  organizations.policy AS organization_policy, roles.id AS role_id, roles.name AS role_name,
  roles.policy AS role_policy, roles.permissions, roles.revision, roles.is_owner`;

/** Longer ones are nobody's, and would only fill the cache. */
const MAX_KEY_LENGTH = 128;
const MINUTE = 60_000;
const ABSENT_TTL = 5_000;
const DEFAULT_TTL_SECONDS = 20;

let caches: { keys: Cache<KeyHolder>; grants: Cache<Grant> } | undefined;

/** One pair for the isolate, made at first use because a binding says how long they keep. */
function cachesOf(env: object) {
  if (!caches) caches = { keys: new Cache(cacheTimes(env)), grants: new Cache(cacheTimes(env)) };
  return caches;
}

/** `IAM_CACHE_SECONDS` is optional and for tests; what isn't a number of seconds means the default. */
function cacheTimes(env: { IAM_CACHE_SECONDS?: unknown }): CacheTimes {
  const { IAM_CACHE_SECONDS: given } = env;
  const seconds = typeof given === "string" && /^\d{1,4}$/.test(given) ? Number(given) : DEFAULT_TTL_SECONDS;
  const ttl = seconds * 1000;
  return { ttl, absentTtl: Math.min(ttl, ABSENT_TTL), staleFor: 15 * MINUTE };
}

/**
 * Who holds this access key (a permanent or temporary key, or a session by its token): the identity and its secret.
 * `fresh` asks the database. Throws InvalidAccessKeyId, InvalidToken, ExpiredToken; SlowDown if the control database
 * is away and the key unknown to this isolate.
 */
export async function identify(
  env: IdentityEnv,
  accessKeyId: string,
  sessionToken: string | undefined,
  { fresh = false } = {},
): Promise<{ identity: Identity; secret: string }> {
  if (sessionToken !== undefined) return identifySession(env, accessKeyId, sessionToken);
  if (accessKeyId.length > MAX_KEY_LENGTH) throw new S3Error("InvalidAccessKeyId");
  const holder = await cachesOf(env).keys.get(accessKeyId, () => loadKey(env, accessKeyId), { fresh });
  if (!holder) throw new S3Error("InvalidAccessKeyId");
  const { secret, expiresAt, ...grant } = holder;
  if (expiresAt !== null && expiresAt <= Date.now()) throw new S3Error("ExpiredToken");
  return { identity: { ...grant, accessKeyId }, secret };
}

async function identifySession(env: IdentityEnv, accessKeyId: string, sessionToken: string) {
  const session = await readSession(env, accessKeyId, sessionToken);
  const { organizationId, roleId, secretAccessKey, replication, callerKey } = session;
  const grant = await findGrant(env, organizationId, roleId);
  if (!grant) throw new S3Error("InvalidToken", "The role of the session is gone.");
  const identity: Identity = { ...grant, accessKeyId: callerKey ?? accessKeyId, ...(replication && { replication }) };
  return { identity, secret: secretAccessKey };
}

async function loadKey(env: IdentityEnv, accessKeyId: string): Promise<KeyHolder | undefined> {
  const statement = env.CONTROL.prepare(
    `SELECT api_keys.secret, api_keys.expires_at, ${GRANT_COLUMNS} FROM api_keys
     JOIN roles ON roles.id = api_keys.role_id JOIN organizations ON organizations.id = api_keys.organization_id
     WHERE api_keys.key = ?1`,
  );
  const row = await ask(() => statement.bind(accessKeyId).first<KeyRow>());
  if (!row) return undefined;
  return { ...toGrant(row), secret: await openSecret(env, accessKeyId, row.secret), expiresAt: row.expires_at };
}

function findGrant(env: ControlDatabaseEnv, organizationId: string, roleId: string): Promise<Grant | undefined> {
  return cachesOf(env).grants.get(`${organizationId}/${roleId}`, () => loadGrant(env, organizationId, roleId));
}

async function loadGrant(env: ControlDatabaseEnv, organizationId: string, roleId: string): Promise<Grant | undefined> {
  const statement = env.CONTROL.prepare(
    `SELECT ${GRANT_COLUMNS} FROM roles JOIN organizations ON organizations.id = roles.organization_id
     WHERE roles.id = ?1 AND organizations.id = ?2`,
  );
  const row = await ask(() => statement.bind(roleId, organizationId).first<GrantRow>());
  return row ? toGrant(row) : undefined;
}

/** An answer of the control database. Without one the caller is told to come back, and is not taken for unknown. */
async function ask<T>(query: () => Promise<T>): Promise<T> {
  try {
    return await query();
  } catch (cause) {
    throw Object.assign(new S3Error("SlowDown"), { cause });
  }
}

function toGrant(row: GrantRow): Grant {
  const parse = (json: string | null) => (json === null ? null : (JSON.parse(json) as Policy));
  return {
    organization: { id: row.organization_id, name: row.organization_name },
    organizationPolicy: parse(row.organization_policy),
    role: {
      id: row.role_id,
      name: row.role_name,
      organizationId: row.organization_id,
      policy: parse(row.role_policy),
      permissions: JSON.parse(row.permissions) as string[],
      revision: row.revision,
      isOwner: row.is_owner === 1,
    },
  };
}

/** The role, or undefined if the organization has none by that id. Cached as in `identify`. Throws SlowDown. */
export async function getRole(
  env: ControlDatabaseEnv,
  organizationId: string,
  roleId: string,
): Promise<Role | undefined> {
  return (await findGrant(env, organizationId, roleId))?.role;
}

/**
 * A number that every change of the role, of its policy and of its organization's policy raises; undefined when the
 * role is gone. Replication compares it to see whether what failed may be tried again. As old as the cache at most.
 */
export async function roleRevision(
  env: ControlDatabaseEnv,
  organizationId: string,
  roleId: string,
): Promise<number | undefined> {
  return (await getRole(env, organizationId, roleId))?.revision;
}

/**
 * The role as a zone assumes it for replication, or undefined (AssumeRoleNotPermitted) when the role is gone, when its
 * policy explicitly denies `assume-role` in service `iam`, or when the organization's policy doesn't allow it.
 *
 * Explicitly: service `iam` is of type `deny`, or the first rule of it that is true is a deny. A default strategy of
 * `deny` and an `iam` of which no rule is true don't count, because a role for replication is written with `sos` alone
 * and default `deny`, and names nowhere who may assume it. The organization's policy is a ceiling, so it is asked in
 * the ordinary way.
 */
export async function assumeRole(
  env: ControlDatabaseEnv,
  organizationId: string,
  roleId: string,
  zone: string,
): Promise<Identity | undefined> {
  const grant = await findGrant(env, organizationId, roleId);
  if (!grant) return undefined;
  const parameters = { role_id: roleId };
  const request: AccessRequest = { service: "iam", operation: "assume-role", parameters, zone, sourceIp: "" };
  const variables = toVariables({ ...grant, accessKeyId: null }, request);
  if (decide(grant.organizationPolicy, variables).action === "deny") return undefined;
  if (isExplicitDeny(decide(grant.role.policy, variables))) return undefined;
  return { ...grant, accessKeyId: "" }; // a zone itself holds no key; at the destination its session has one
}

function isExplicitDeny({ action, by }: Decision): boolean {
  return action === "deny" && (by === "rule" || by === "service-type");
}

/** Throws AccessDenied unless organization policy and role policy allow it. */
export function authorize(identity: Identity, request: AccessRequest): void {
  if (!isAllowed(identity, request)) throw new S3Error("AccessDenied");
}

/** The same as a question. */
export function isAllowed(identity: Identity, request: AccessRequest): boolean {
  const variables = toVariables(identity, request);
  return [identity.organizationPolicy, identity.role.policy].every(
    (policy) => decide(policy, variables).action === "allow",
  );
}

function toVariables(
  caller: Pick<Identity, "organization" | "role"> & { accessKeyId: string | null },
  { service, operation, parameters, zone, sourceIp }: AccessRequest,
): Variables {
  const present = Object.entries(parameters).filter(([, value]) => value !== undefined);
  return {
    service,
    operation,
    parameters: Object.fromEntries(present),
    zone,
    source_ip: sourceIp,
    now: new Date().toISOString(),
    api_key: caller.accessKeyId,
    identity: { key: caller.accessKeyId, role: caller.role.id, organization: caller.organization.id },
  };
}
