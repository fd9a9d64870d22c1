/**
 * The audit: one row for each change of who may do what. Its statements run in the batch of the change that they tell
 * of, so there is no change without its row, and no row without its change. The row's id is the operation's id.
 */
type AuditEnv = Pick<Env, "CONTROL">;

/** Who changes something, and from where. */
export interface Actor {
  organizationId: string;
  /** null for the holder of the admin token */
  accessKeyId: string | null;
  sourceIp: string;
  /** tells a request that was sent again from another one: SHA-256 of its signature; null where nothing is signed */
  request: string | null;
}

export interface Change {
  /** id of the audit row, a UUID */
  id: string;
  /** kebab-case operation name */
  operation: string;
  /** id of what was changed */
  resource: string;
}

/**
 * A change and the statement that records it. It goes right behind the statement that makes the change, and writes
 * nothing if that one changed nothing.
 */
export function record(
  env: AuditEnv,
  actor: Actor,
  operation: string,
  resource: string,
  details: Record<string, unknown>,
): { change: Change; statement: D1PreparedStatement } {
  const change: Change = { id: crypto.randomUUID(), operation, resource };
  const statement = env.CONTROL.prepare(
    `INSERT INTO audit (id, organization_id, at, access_key_id, operation, resource, details, source_ip, request)
     SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9 WHERE changes() > 0`,
  ).bind(
    change.id,
    actor.organizationId,
    Date.now(),
    actor.accessKeyId,
    operation,
    resource,
    JSON.stringify(details),
    actor.sourceIp,
    actor.request,
  );
  return { change, statement };
}

/** A change of the organization by its id. */
export async function findChange(env: AuditEnv, organizationId: string, id: string): Promise<Change | undefined> {
  const row = await env.CONTROL.prepare(
    "SELECT id, operation, resource FROM audit WHERE id = ?1 AND organization_id = ?2",
  )
    .bind(id, organizationId)
    .first<Change>();
  return row ?? undefined;
}

/**
 * egoscale waits at least a second before it sends a request again, and gives up after 15 s. Two requests for the same
 * thing that were signed within one second carry the same signature too, but come within that second.
 */
const REPEATED_AFTER = 1000;
const REPEATED_WITHIN = 60_000;

/** What this very request changed when it was sent before: `exo` sends one again whose answer was lost. */
export async function findRepeated(
  env: AuditEnv,
  actor: Actor,
  operation: string,
  resource: string,
): Promise<Change | undefined> {
  const now = Date.now();
  const row = await env.CONTROL.prepare(
    `SELECT id, operation, resource FROM audit
     WHERE request = ?1 AND organization_id = ?2 AND operation = ?3 AND resource = ?4 AND at BETWEEN ?5 AND ?6`,
  )
    .bind(actor.request, actor.organizationId, operation, resource, now - REPEATED_WITHIN, now - REPEATED_AFTER)
    .first<Change>();
  return row ?? undefined;
}
