/**
 * IAM over HTTP: roles, API keys, the organization and its policy, as `exo iam` asks for them.
 *
 * Surprises: `exo` reads a role's policy from the list and crashes where it is missing, so a role that has none shows
 * one that allows everything; and it updates a role's policy by an empty `PUT` first, which must succeed.
 */
import { S3Error } from "../errors.ts";
import { findChange } from "../iam/audit.ts";
import { type AccessRequest, isAllowed } from "../iam/identity.ts";
import { type ApiKey, createKey, deleteKey, getKey, listKeys } from "../iam/keys.ts";
import { getOrganizationPolicy, putOrganizationPolicy } from "../iam/organizations.ts";
import { ALLOW_ALL, checkAssumeRolePolicy, checkPolicy } from "../iam/policy.ts";
import {
  createRole,
  deleteRole,
  getRoleDescription,
  listRoles,
  putRolePolicy,
  type RoleChanges,
  type RoleDescription,
  updateRole,
} from "../iam/roles.ts";
import { peer, zones } from "../zones.ts";
import type { ControlEnv } from "./environment.ts";
import {
  optionalBoolean,
  optionalLabels,
  optionalPositive,
  optionalSet,
  optionalText,
  refuseUnknown,
  text,
} from "./fields.ts";
import { type Context, operation, toOperation } from "./operation.ts";

const iam = (name: string, parameters?: (context: Context) => Record<string, unknown>) => ({
  service: "iam" as const,
  operation: name,
  parameters,
});
const byRole = ({ params }: Context) => ({ role_id: params.id });
const byKey = ({ params }: Context) => ({ key: params.key });

export const GetOrganization = operation("GET /organization", iam("get-organization"), async ({ identity }) => ({
  ...identity.organization,
}));

export const GetOperation = operation("GET /operation/:id", iam("get-operation"), async ({ env, identity, params }) => {
  const change = await findChange(env, identity.organization.id, params.id!);
  if (!change) throw new S3Error("NotFound", `operation ${params.id} not found`);
  return toOperation(change);
});

export const ListIamRoles = operation("GET /iam-role", iam("list-iam-roles"), async ({ env, identity }) => ({
  "iam-roles": (await listRoles(env, identity.organization.id)).map(showRole),
}));

export const CreateIamRole = operation(
  "POST /iam-role",
  iam("create-iam-role", ({ body }) => ({ name: body.name })),
  async ({ env, actor, body }) => {
    refuseUnknown(body, ["name", "editable", "policy", ...CHANGEABLE]);
    const name = text(body, "name", 1, 191);
    refuseIdAsName(name, UUID);
    const policy = body.policy === undefined || body.policy === null ? null : checkPolicy(body.policy);
    const role = { ...roleChanges(body), name, editable: optionalBoolean(body, "editable") ?? true, policy };
    return toOperation(await createRole(env, actor, role));
  },
);

export const UpdateIamRolePolicy = operation(
  "PUT /iam-role/:id[:]policy",
  iam("update-iam-role-policy", byRole),
  async ({ env, actor, params, body }) => toOperation(await putRolePolicy(env, actor, params.id!, checkPolicy(body))),
);

export const GetIamRole = operation("GET /iam-role/:id", iam("get-iam-role", byRole), async (context) =>
  showRole(await getRoleDescription(context.env, context.identity.organization.id, context.params.id!)),
);

export const UpdateIamRole = operation(
  "PUT /iam-role/:id",
  iam("update-iam-role", byRole),
  async ({ env, actor, params, body }) => {
    refuseUnknown(body, CHANGEABLE);
    return toOperation(await updateRole(env, actor, params.id!, roleChanges(body)));
  },
);

export const DeleteIamRole = operation(
  "DELETE /iam-role/:id",
  iam("delete-iam-role", byRole),
  async ({ env, actor, params }) => {
    await requireUnused(env, actor.organizationId, params.id!);
    return toOperation(await deleteRole(env, actor, params.id!));
  },
);

/** Throws Conflict naming a bucket that replicates by the role; ServiceUnavailable where a zone can't be asked. */
async function requireUnused(env: ControlEnv, organizationId: string, roleId: string): Promise<void> {
  // A zone that no binding leads to can't be asked either: it must not pass for one that doesn't use the role.
  const asked = zones(env).map(async (zone) => await peer(env, zone)!.bucketsUsingRole(organizationId, roleId));
  const answers = await Promise.all(asked).catch(() => {
    throw new S3Error("ServiceUnavailable", "a zone can't be asked whether its buckets replicate by this role");
  });
  const [bucket] = answers.flat();
  if (bucket) throw new S3Error("Conflict", `IAM role '${roleId}' is used by the replication of bucket '${bucket}'`);
}

export const ListApiKeys = operation("GET /api-key", iam("list-api-keys"), async ({ env, identity }) => ({
  "api-keys": (await listKeys(env, identity.organization.id)).map(showKey),
}));

/** Answers the key itself and no Operation: the secret is shown here and never again. */
export const CreateApiKey = operation(
  "POST /api-key",
  iam("create-api-key", ({ body }) => ({ name: body.name, role_id: body["role-id"] })),
  async ({ env, actor, body }) => {
    refuseUnknown(body, ["name", "role-id"]);
    const name = text(body, "name", 1, 255);
    refuseIdAsName(name, API_KEY);
    const { roleId, key, secret } = await createKey(env, actor, { name, roleId: text(body, "role-id", 1, 255) });
    return { key, name, "role-id": roleId, secret };
  },
);

export const GetApiKey = operation("GET /api-key/:key", iam("get-api-key", byKey), async (context) =>
  showKey(await getKey(context.env, context.identity.organization.id, context.params.key!)),
);

export const DeleteApiKey = operation(
  "DELETE /api-key/:key",
  iam("delete-api-key", byKey),
  async ({ env, actor, params }) => toOperation(await deleteKey(env, actor, params.key!)),
);

export const GetIamOrganizationPolicy = operation(
  "GET /iam-organization-policy",
  iam("get-iam-organization-policy"),
  async ({ env, identity }) => (await getOrganizationPolicy(env, identity.organization.id)) ?? ALLOW_ALL,
);

/** `exo iam org-policy reset` sends the policy that allows everything, so that one counts as a reset too. */
export const UpdateIamOrganizationPolicy = operation(
  "PUT /iam-organization-policy",
  {
    ...iam("update-iam-organization-policy"),
    isAllowed: (context, request) =>
      isAllowed(context.identity, request) || (isAllowAll(context.body) && mayReset(context, request)),
  },
  async ({ env, actor, body }) => {
    const policy = checkPolicy(body);
    return toOperation(await putOrganizationPolicy(env, actor, isAllowAll(body) ? null : policy));
  },
);

export const ResetIamOrganizationPolicy = operation(
  "POST /iam-organization-policy[:]reset",
  { ...iam("reset-iam-organization-policy"), isAllowed: mayReset },
  async ({ env, actor }) => toOperation(await putOrganizationPolicy(env, actor, null)),
);

/**
 * The Owner role may always reset the organization's policy, else one that denies everything would be there for good;
 * another role needs the permission, and its own policy to allow it. The policy to be reset has no say.
 */
function mayReset({ identity }: Context, request: AccessRequest): boolean {
  if (identity.role.isOwner) return true;
  const asked = { ...request, operation: RESET };
  return identity.role.permissions.includes(RESET) && isAllowed({ ...identity, organizationPolicy: null }, asked);
}

function isAllowAll(body: Record<string, unknown>): boolean {
  const { services } = body;
  const isEmpty = typeof services === "object" && services !== null && Object.keys(services).length === 0;
  return body["default-service-strategy"] === "allow" && isEmpty;
}

const RESET = "reset-iam-organization-policy";
const PERMISSIONS = ["bypass-governance-retention", RESET];
const CHANGEABLE = ["description", "labels", "permissions", "max-session-ttl", "assume-role-policy"];
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const API_KEY = /^EXO[0-9a-f]{24}$/i;

/** `exo` takes a name or an id in the same place. */
function refuseIdAsName(name: string, id: RegExp): void {
  if (id.test(name)) throw new S3Error("BadRequest", `Invalid request: 'name' must not look like an id`);
}

function roleChanges(body: Record<string, unknown>): RoleChanges {
  const assumeRolePolicy = body["assume-role-policy"] ?? undefined;
  return {
    description: optionalText(body, "description", 0, 255),
    labels: optionalLabels(body, "labels"),
    permissions: optionalSet(body, "permissions", PERMISSIONS),
    maxSessionTtl: optionalPositive(body, "max-session-ttl"),
    assumeRolePolicy: assumeRolePolicy === undefined ? undefined : checkAssumeRolePolicy(assumeRolePolicy),
  };
}

/** No labels and no permissions are left out: `exo` then prints `n/a`, and null in JSON, as it does for its own API. */
function showRole(role: RoleDescription): object {
  const { id, name, description, editable, labels, permissions } = role;
  return {
    id,
    name,
    description,
    editable,
    ...(Object.keys(labels).length > 0 && { labels }),
    ...(permissions.length > 0 && { permissions }),
    policy: role.policy ?? ALLOW_ALL,
    ...(role.maxSessionTtl !== null && { "max-session-ttl": role.maxSessionTtl }),
    ...(role.assumeRolePolicy !== null && { "assume-role-policy": role.assumeRolePolicy }),
  };
}

function showKey({ key, name, roleId, createdAt, expiresAt, lastUsedAt }: ApiKey): object {
  const time = (milliseconds: number) => new Date(milliseconds).toISOString();
  return {
    key,
    name,
    "role-id": roleId,
    "created-at": time(createdAt),
    ...(expiresAt !== null && { "expires-at": time(expiresAt) }),
    ...(lastUsedAt !== null && { "last-used-at": time(lastUsedAt) }),
  };
}
