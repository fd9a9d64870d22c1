/**
 * Roles: what an API key or a session may do. The only statements on CONTROL.roles but for the joins in identity.ts.
 *
 * A role belongs to one organization, and everything here asks for both, so that another organization's role is as
 * good as missing. The Owner role can't be edited or deleted; `editable: false` freezes a role's policy.
 */
import { S3Error } from "../errors.ts";
import { type Actor, type Change, findRepeated, record } from "./audit.ts";
import type { Policy, PolicyRule } from "./policy.ts";

type RolesEnv = Pick<Env, "CONTROL">;

/** What decides about access. */
export interface Role {
  id: string;
  name: string;
  organizationId: string;
  /** null allows everything */
  policy: Policy | null;
  permissions: string[];
  /** raised by every change of the role or of its organization's policy */
  revision: number;
  isOwner: boolean;
}

export interface RoleDescription extends Role {
  description: string;
  editable: boolean;
  labels: Record<string, string>;
  /** seconds */
  maxSessionTtl: number | null;
  assumeRolePolicy: { rules: PolicyRule[] } | null;
}

export type RoleChanges = Partial<
  Pick<RoleDescription, "description" | "labels" | "permissions" | "maxSessionTtl" | "assumeRolePolicy">
>;

export type NewRole = RoleChanges & Pick<RoleDescription, "name" | "editable" | "policy">;

interface Row {
  id: string;
  organization_id: string;
  name: string;
  description: string;
  editable: number;
  labels: string;
  permissions: string;
  policy: string | null;
  max_session_ttl: number | null;
  assume_role_policy: string | null;
  is_owner: number;
  revision: number;
}

/** All roles of the organization, by name. */
export async function listRoles(env: RolesEnv, organizationId: string): Promise<RoleDescription[]> {
  const statement = env.CONTROL.prepare("SELECT * FROM roles WHERE organization_id = ?1 ORDER BY name");
  const { results } = await statement.bind(organizationId).all<Row>();
  return results.map(toRole);
}

/** Throws NotFound. */
export async function getRoleDescription(env: RolesEnv, organizationId: string, id: string): Promise<RoleDescription> {
  const row = await env.CONTROL.prepare("SELECT * FROM roles WHERE id = ?1 AND organization_id = ?2")
    .bind(id, organizationId)
    .first<Row>();
  if (!row) throw new S3Error("NotFound", `IAM role ${id} not found`);
  return toRole(row);
}

/** Throws Conflict if the organization has a role by that name, unless this same request made it. */
export async function createRole(env: RolesEnv, actor: Actor, role: NewRole): Promise<Change> {
  const id = crypto.randomUUID();
  const { change, statement } = record(env, actor, "create-iam-role", id, { ...role });
  const [inserted] = await env.CONTROL.batch([insertRole(env, actor.organizationId, id, role), statement]);
  if (inserted!.meta.changes > 0) return change;
  const present = await findByName(env, actor.organizationId, role.name);
  const repeated = present && (await findRepeated(env, actor, "create-iam-role", present.id));
  if (repeated) return repeated;
  throw new S3Error("Conflict", `an IAM role named '${role.name}' exists`);
}

/** The Owner role that each organization has. It is made together with its organization. */
export function insertOwnerRole(env: RolesEnv, organizationId: string, id: string): D1PreparedStatement {
  const description = "May do everything in this organization";
  return insertRole(env, organizationId, id, { name: "Owner", description, editable: false, policy: null }, true);
}

function insertRole(
  env: RolesEnv,
  organizationId: string,
  id: string,
  role: NewRole,
  isOwner = false,
): D1PreparedStatement {
  // Selects from the organization, so that the Owner role of one that was not made is not made either.
  return env.CONTROL.prepare(
    `INSERT INTO roles (id, organization_id, name, description, editable, labels, permissions, policy,
                        max_session_ttl, assume_role_policy, is_owner, created_at)
     SELECT ?1, id, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12 FROM organizations WHERE id = ?2
     ON CONFLICT (organization_id, name) DO NOTHING`,
  ).bind(
    id,
    organizationId,
    role.name,
    role.description ?? "",
    role.editable ? 1 : 0,
    JSON.stringify(role.labels ?? {}),
    JSON.stringify(role.permissions ?? []),
    toJson(role.policy),
    role.maxSessionTtl ?? null,
    toJson(role.assumeRolePolicy),
    isOwner ? 1 : 0,
    Date.now(),
  );
}

/**
 * Changes the fields that are given; the policy has its own way. No field at all is accepted for every role and
 * changes nothing: `exo` sends that before a policy. Throws NotFound, AccessDenied for the Owner role.
 */
export async function updateRole(env: RolesEnv, actor: Actor, id: string, changes: RoleChanges): Promise<Change> {
  const isChange = Object.values(changes).some((value) => value !== undefined) ? 1 : 0;
  const { change, statement } = record(env, actor, "update-iam-role", id, { ...changes });
  const update = env.CONTROL.prepare(
    `UPDATE roles SET description = COALESCE(?3, description), labels = COALESCE(?4, labels),
       permissions = COALESCE(?5, permissions), max_session_ttl = COALESCE(?6, max_session_ttl),
       assume_role_policy = COALESCE(?7, assume_role_policy), revision = revision + ?8
     WHERE id = ?1 AND organization_id = ?2 AND (is_owner = 0 OR ?8 = 0)`,
  ).bind(
    id,
    actor.organizationId,
    changes.description ?? null,
    toJson(changes.labels),
    toJson(changes.permissions),
    changes.maxSessionTtl ?? null,
    toJson(changes.assumeRolePolicy),
    isChange,
  );
  const [updated] = await env.CONTROL.batch([update, statement]);
  if (updated!.meta.changes > 0) return change;
  const { name } = await getRoleDescription(env, actor.organizationId, id);
  throw new S3Error("AccessDenied", `IAM role '${name}' can't be edited`);
}

/** Throws NotFound, AccessDenied for a role that isn't editable. */
export async function putRolePolicy(env: RolesEnv, actor: Actor, id: string, policy: Policy): Promise<Change> {
  const { change, statement } = record(env, actor, "update-iam-role-policy", id, { policy });
  const update = env.CONTROL.prepare(
    `UPDATE roles SET policy = ?3, revision = revision + 1
     WHERE id = ?1 AND organization_id = ?2 AND editable = 1 AND is_owner = 0`,
  ).bind(id, actor.organizationId, toJson(policy));
  const [updated] = await env.CONTROL.batch([update, statement]);
  if (updated!.meta.changes > 0) return change;
  const { name } = await getRoleDescription(env, actor.organizationId, id);
  throw new S3Error("AccessDenied", `the policy of IAM role '${name}' can't be edited`);
}

/**
 * Throws NotFound, AccessDenied for the Owner role, Conflict naming an API key that holds it. A key that is made
 * meanwhile can't slip in: the statement itself looks for keys.
 */
export async function deleteRole(env: RolesEnv, actor: Actor, id: string): Promise<Change> {
  const { change, statement } = record(env, actor, "delete-iam-role", id, {});
  const deletion = env.CONTROL.prepare(
    `DELETE FROM roles WHERE id = ?1 AND organization_id = ?2 AND is_owner = 0
     AND NOT EXISTS (SELECT 1 FROM api_keys WHERE role_id = ?1)`,
  ).bind(id, actor.organizationId);
  const [, deleted] = await env.CONTROL.batch([deleteExpiredKeys(env, actor.organizationId, id), deletion, statement]);
  if (deleted!.meta.changes > 0) return change;
  const repeated = await findRepeated(env, actor, "delete-iam-role", id);
  if (repeated) return repeated;
  const role = await getRoleDescription(env, actor.organizationId, id);
  if (role.isOwner) throw new S3Error("AccessDenied", "the Owner role can't be deleted");
  throw new S3Error("Conflict", `IAM role '${role.name}' is held by ${await keysOf(env, id)}`);
}

/** A temporary key whose time is over doesn't hold its role any more. */
function deleteExpiredKeys(env: RolesEnv, organizationId: string, roleId: string): D1PreparedStatement {
  return env.CONTROL.prepare(
    "DELETE FROM api_keys WHERE role_id = ?1 AND organization_id = ?2 AND expires_at <= ?3",
  ).bind(roleId, organizationId, Date.now());
}

async function keysOf(env: RolesEnv, roleId: string): Promise<string> {
  const statement = env.CONTROL.prepare("SELECT name, key FROM api_keys WHERE role_id = ?1 ORDER BY name LIMIT 4");
  const { results } = await statement.bind(roleId).all<{ name: string; key: string }>();
  const names = results.slice(0, 3).map(({ name, key }) => `API key '${name}' (${key})`);
  return results.length > 3 ? `${names.join(", ")} and others` : names.join(", ");
}

async function findByName(env: RolesEnv, organizationId: string, name: string): Promise<{ id: string } | undefined> {
  const statement = env.CONTROL.prepare("SELECT id FROM roles WHERE organization_id = ?1 AND name = ?2");
  return (await statement.bind(organizationId, name).first<{ id: string }>()) ?? undefined;
}

/** Raises the revision of all roles of the organization: its policy stands above them. */
export function raiseRevisions(env: RolesEnv, organizationId: string): D1PreparedStatement {
  return env.CONTROL.prepare("UPDATE roles SET revision = revision + 1 WHERE organization_id = ?1").bind(
    organizationId,
  );
}

function toJson(value: unknown): string | null {
  return value === undefined || value === null ? null : JSON.stringify(value);
}

function toRole(row: Row): RoleDescription {
  return {
    id: row.id,
    name: row.name,
    organizationId: row.organization_id,
    policy: parse<Policy>(row.policy),
    permissions: JSON.parse(row.permissions) as string[],
    revision: row.revision,
    isOwner: row.is_owner === 1,
    description: row.description,
    editable: row.editable === 1,
    labels: JSON.parse(row.labels) as Record<string, string>,
    maxSessionTtl: row.max_session_ttl,
    assumeRolePolicy: parse<{ rules: PolicyRule[] }>(row.assume_role_policy),
  };
}

function parse<T>(json: string | null): T | null {
  return json === null ? null : (JSON.parse(json) as T);
}
