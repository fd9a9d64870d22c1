/**
 * Organizations: who owns buckets, roles and keys, and the one policy that stands above all roles of each. The only
 * statements on CONTROL.organizations but for the joins in identity.ts. Nobody can delete one yet.
 */
import { randomBytes } from "node:crypto";
import { S3Error } from "../errors.ts";
import { type Actor, type Change, record } from "./audit.ts";
import { insertKey } from "./keys.ts";
import type { Policy } from "./policy.ts";
import { insertOwnerRole, raiseRevisions } from "./roles.ts";

type OrganizationsEnv = Pick<Env, "CONTROL" | "ROOT_KEY">;

/** What is made with an organization: its Owner role's key, whose secret is shown this once. */
export interface NewOrganization {
  id: string;
  name: string;
  key: string;
  secret: string;
}

/** Makes an organization, its Owner role and a key of that role, all or nothing. Throws Conflict if the name is taken. */
export async function createOrganization(
  env: OrganizationsEnv,
  name: string,
  sourceIp: string,
): Promise<NewOrganization> {
  const [id, roleId] = [crypto.randomUUID(), crypto.randomUUID()];
  const actor: Actor = { organizationId: id, accessKeyId: null, sourceIp, request: null };
  const insertion = env.CONTROL.prepare(
    "INSERT INTO organizations (id, name, created_at) VALUES (?1, ?2, ?3) ON CONFLICT (name) DO NOTHING",
  ).bind(id, name, Date.now());
  const secret = randomBytes(32).toString("base64url");
  const key = await insertKey(env, id, { name: "owner", roleId }, secret);
  const { statement: audit } = record(env, actor, "create-organization", id, { name, key: key.id });
  // Each insert selects from the one before, so where the name is taken nothing at all is written.
  const [inserted] = await env.CONTROL.batch([insertion, insertOwnerRole(env, id, roleId), key.statement, audit]);
  if (inserted!.meta.changes === 0) throw new S3Error("Conflict", `an organization named '${name}' exists`);
  return { id, name, key: key.id, secret };
}

/** The policy that stands above all roles; null allows everything. */
export async function getOrganizationPolicy(env: Pick<Env, "CONTROL">, organizationId: string): Promise<Policy | null> {
  const statement = env.CONTROL.prepare("SELECT policy FROM organizations WHERE id = ?1");
  const policy = await statement.bind(organizationId).first<string | null>("policy");
  return policy ? (JSON.parse(policy) as Policy) : null;
}

/** Replaces the policy; null takes it away. Every role of the organization counts as changed. */
export async function putOrganizationPolicy(
  env: Pick<Env, "CONTROL">,
  actor: Actor,
  policy: Policy | null,
): Promise<Change> {
  const { organizationId } = actor;
  const operation = policy ? "update-iam-organization-policy" : "reset-iam-organization-policy";
  const { change, statement } = record(env, actor, operation, organizationId, { policy });
  const update = env.CONTROL.prepare("UPDATE organizations SET policy = ?2 WHERE id = ?1");
  await env.CONTROL.batch([
    update.bind(organizationId, policy && JSON.stringify(policy)),
    raiseRevisions(env, organizationId),
    statement,
  ]);
  return change;
}
