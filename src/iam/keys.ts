/**
 * API keys: an access key id (`EXO` and 24 hex digits) and a secret, holding one role. The only statements on
 * CONTROL.api_keys but for the join in identity.ts and the questions of roles.ts.
 *
 * The secret is shown once, when the key is made, and rests sealed with the access key id as additional data.
 */
import { randomBytes } from "node:crypto";
import { S3Error } from "../errors.ts";
import { type Actor, type Change, findRepeated, record } from "./audit.ts";
import { open, seal } from "./seal.ts";

type KeysEnv = Pick<Env, "CONTROL" | "ROOT_KEY">;

export interface ApiKey {
  key: string;
  name: string;
  roleId: string;
  /** milliseconds since the epoch, as all times here */
  createdAt: number;
  /** null: never */
  expiresAt: number | null;
  /** to the hour; null: never */
  lastUsedAt: number | null;
}

export interface NewKey {
  name: string;
  roleId: string;
}

interface Row {
  key: string;
  name: string;
  role_id: string;
  secret: string;
  created_at: number;
  expires_at: number | null;
  last_used_at: number | null;
}

/** All keys of the organization, by name. */
export async function listKeys(env: Pick<KeysEnv, "CONTROL">, organizationId: string): Promise<ApiKey[]> {
  const statement = env.CONTROL.prepare("SELECT * FROM api_keys WHERE organization_id = ?1 ORDER BY name");
  const { results } = await statement.bind(organizationId).all<Row>();
  return results.map(toKey);
}

/** Throws NotFound. */
export async function getKey(env: Pick<KeysEnv, "CONTROL">, organizationId: string, key: string): Promise<ApiKey> {
  const statement = env.CONTROL.prepare("SELECT * FROM api_keys WHERE key = ?1 AND organization_id = ?2");
  const row = await statement.bind(key, organizationId).first<Row>();
  if (!row) throw new S3Error("NotFound", `API key ${key} not found`);
  return toKey(row);
}

/**
 * Makes a key; the answer is the only one that ever holds its secret. The same request sent again, because its answer
 * was lost, gets the same key. Throws NotFound for a role that the organization doesn't have, Conflict for a taken name.
 */
export async function createKey(
  env: KeysEnv,
  actor: Actor,
  key: NewKey,
): Promise<NewKey & { key: string; secret: string }> {
  const secret = randomBytes(32).toString("base64url");
  const { id, statement: insertion } = await insertKey(env, actor.organizationId, key, secret);
  const { statement } = record(env, actor, "create-api-key", id, { ...key });
  const [inserted] = await env.CONTROL.batch([insertion, statement]);
  if (inserted!.meta.changes > 0) return { ...key, key: id, secret };
  const repeated = await findRepeatedKey(env, actor, key);
  if (repeated) return { ...key, ...repeated };
  const role = env.CONTROL.prepare("SELECT 1 FROM roles WHERE id = ?1 AND organization_id = ?2");
  if (!(await role.bind(key.roleId, actor.organizationId).first())) {
    throw new S3Error("NotFound", `IAM role ${key.roleId} not found`);
  }
  throw new S3Error("Conflict", `an API key named '${key.name}' exists`);
}

/** The statement that inserts a new key with this secret, where its role is there and its name is free. */
export async function insertKey(
  env: KeysEnv,
  organizationId: string,
  { name, roleId }: NewKey,
  secret: string,
): Promise<{ id: string; statement: D1PreparedStatement }> {
  const id = `EXO${randomBytes(12).toString("hex")}`;
  const statement = env.CONTROL.prepare(
    `INSERT INTO api_keys (key, name, organization_id, role_id, secret, created_at)
     SELECT ?1, ?2, organization_id, id, ?5, ?6 FROM roles WHERE id = ?4 AND organization_id = ?3
     ON CONFLICT (organization_id, name) DO NOTHING`,
  ).bind(id, name, organizationId, roleId, await seal(env, "api secret", id, secret), Date.now());
  return { id, statement };
}

async function findRepeatedKey(env: KeysEnv, actor: Actor, { name, roleId }: NewKey) {
  const row = await env.CONTROL.prepare(
    "SELECT * FROM api_keys WHERE organization_id = ?1 AND name = ?2 AND role_id = ?3",
  )
    .bind(actor.organizationId, name, roleId)
    .first<Row>();
  if (!row || !(await findRepeated(env, actor, "create-api-key", row.key))) return undefined;
  return { key: row.key, secret: await openSecret(env, row.key, row.secret) };
}

/** Throws NotFound, unless this same request deleted it. */
export async function deleteKey(env: KeysEnv, actor: Actor, key: string): Promise<Change> {
  const { change, statement } = record(env, actor, "delete-api-key", key, {});
  const deletion = env.CONTROL.prepare(
    `DELETE FROM api_keys WHERE key = ?1 AND organization_id = ?2 AND NOT ${IS_LAST_OF_OWNER}`,
  );
  const [deleted] = await env.CONTROL.batch([deletion.bind(key, actor.organizationId), statement]);
  if (deleted!.meta.changes > 0) return change;
  const repeated = await findRepeated(env, actor, "delete-api-key", key);
  if (repeated) return repeated;
  await requireNotLast(env, actor.organizationId, key);
  throw new S3Error("NotFound", `API key ${key} not found`);
}

/** Whoever removes the last key of the Owner role locks the organization out for good. */
const IS_LAST_OF_OWNER = `(
  EXISTS (SELECT 1 FROM api_keys k JOIN roles r ON r.id = k.role_id WHERE k.key = ?1 AND r.is_owner = 1)
  AND (SELECT count(*) FROM api_keys k JOIN roles r ON r.id = k.role_id
    WHERE k.organization_id = ?2 AND r.is_owner = 1 AND k.expires_at IS NULL) = 1)`;

async function requireNotLast(env: KeysEnv, organizationId: string, key: string): Promise<void> {
  const statement = env.CONTROL.prepare(
    `SELECT 1 FROM api_keys WHERE key = ?1 AND organization_id = ?2 AND ${IS_LAST_OF_OWNER}`,
  );
  if (!(await statement.bind(key, organizationId).first())) return;
  throw new S3Error("Conflict", `API key ${key} is the last one of the Owner role`);
}

/** The secret that was sealed for this access key id. Fails loudly when ROOT_KEY isn't the one that sealed it. */
export async function openSecret(env: Pick<Env, "ROOT_KEY">, key: string, sealed: string): Promise<string> {
  const secret = await open(env, "api secret", key, sealed);
  if (secret === undefined) throw new Error(`neither ROOT_KEY nor ROOT_KEY_PREVIOUS opens the secret of ${key}`);
  return secret;
}

const HOUR = 3_600_000;
/** When this isolate last noted that a key was used, milliseconds. */
const notedAt = new Map<string, number>();
const NOTES_KEPT = 10_000;

/**
 * Notes that a key was used, at most once an hour: undefined if that was done. For a caller whose signature was found
 * right, never before: else anybody who knows a key's id could make it look alive. Only a note: while the control
 * database is away it waits for the next hour, and no request for it.
 */
export function noteUse(env: Pick<Env, "CONTROL">, key: string): Promise<unknown> | undefined {
  const now = Date.now();
  if (Math.abs(now - (notedAt.get(key) ?? 0)) < HOUR) return undefined;
  if (notedAt.size >= NOTES_KEPT) notedAt.clear();
  notedAt.set(key, now);
  return env.CONTROL.prepare("UPDATE api_keys SET last_used_at = ?2 WHERE key = ?1 AND COALESCE(last_used_at, 0) < ?3")
    .bind(key, now, now - HOUR)
    .run()
    .catch(() => undefined);
}

function toKey(row: Row): ApiKey {
  return {
    key: row.key,
    name: row.name,
    roleId: row.role_id,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    lastUsedAt: row.last_used_at,
  };
}
