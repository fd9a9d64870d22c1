/**
 * Links: the ways out of a bucket, one for each (source bucket, rule ID, destination bucket).
 *
 * A PUT of the configuration that keeps a rule's ID and destination keeps its link and backlog; a rule that is gone marks
 * its link removed, its return revives it.
 */
import { changeBucket } from "./buckets.ts";
import type { ReplicationRule } from "./rules.ts";

export interface Link {
  linkId: number;
  bucketId: number;
  ruleId: string;
  destination: { bucketId: number; name: string };
  state: "active" | "paused" | "removed";
  /** milliseconds; null while the link is up */
  downSince: number | null;
  nextProbeAt: number | null;
  probes: number;
  lastError: string | null;
}

interface LinkRow {
  link_id: number;
  bucket_id: number;
  rule_id: string;
  destination_bucket_id: number;
  destination_name: string;
  state: Link["state"];
  down_since: number | null;
  next_probe_at: number | null;
  probes: number;
  last_error: string | null;
}

function fromRow(row: LinkRow): Link {
  return {
    linkId: row.link_id,
    bucketId: row.bucket_id,
    ruleId: row.rule_id,
    destination: { bucketId: row.destination_bucket_id, name: row.destination_name },
    state: row.state,
    downSince: row.down_since,
    nextProbeAt: row.next_probe_at,
    probes: row.probes,
    lastError: row.last_error,
  };
}

type IndexEnv = Pick<Env, "INDEX">;

export async function getLink(env: IndexEnv, linkId: number): Promise<Link | undefined> {
  const row = await env.INDEX.prepare("SELECT * FROM links WHERE link_id = ?1").bind(linkId).first<LinkRow>();
  return row ? fromRow(row) : undefined;
}

export async function listLinks(env: IndexEnv, bucketId: number): Promise<Link[]> {
  const { results } = await env.INDEX.prepare("SELECT * FROM links WHERE bucket_id = ?1 ORDER BY link_id")
    .bind(bucketId)
    .all<LinkRow>();
  return results.map(fromRow);
}

/**
 * Replaces a bucket's replication configuration (null removes it) and brings its links in line, in one transaction.
 * The revision rises with it, so every version commits either before this or bound by it.
 * Throws OperationAborted if the bucket changed since `revision` was read.
 */
export async function putReplication(
  env: IndexEnv,
  bucket: { bucketId: number; revision: number },
  configuration: { role: string; rules: Omit<ReplicationRule, "linkId">[]; document: unknown } | null,
): Promise<void> {
  const rules = JSON.stringify(
    (configuration?.rules ?? []).map((rule) => ({
      ...rule,
      bucketId: rule.destination.bucketId,
      name: rule.destination.name,
      state: rule.isEnabled ? "active" : "paused",
    })),
  );
  await changeBucket(env, bucket, [
    env.INDEX.prepare("UPDATE links SET state = 'removed' WHERE bucket_id = ?1").bind(bucket.bucketId),
    env.INDEX.prepare(
      `INSERT INTO links (bucket_id, rule_id, destination_bucket_id, destination_name, state)
       SELECT ?1, r.value ->> 'id', r.value ->> 'bucketId', r.value ->> 'name', r.value ->> 'state'
       FROM json_each(?2) r WHERE true
       ON CONFLICT (bucket_id, rule_id, destination_bucket_id)
       DO UPDATE SET state = excluded.state, destination_name = excluded.destination_name`,
    ).bind(bucket.bucketId, rules),
    env.INDEX.prepare(
      `UPDATE buckets SET replication = iif(?2 IS NULL, NULL, json_set(?2, '$.rules', json((
         SELECT json_group_array(json_set(r.value, '$.linkId', l.link_id))
         FROM json_each(?3) r CROSS JOIN links l
         WHERE l.bucket_id = ?1 AND l.rule_id = r.value ->> 'id' AND l.destination_bucket_id = r.value ->> 'bucketId'))))
       WHERE bucket_id = ?1`,
    ).bind(bucket.bucketId, configuration && JSON.stringify({ ...configuration, rules: [] }), rules),
  ]);
}

/** Notes that a link is down, and when it is to be probed next (milliseconds). */
export async function markDown(env: IndexEnv, link: Link, error: string, nextProbeAt: number): Promise<void> {
  await env.INDEX.prepare(
    `UPDATE links SET down_since = coalesce(down_since, ?2), next_probe_at = ?3, probes = probes + 1, last_error = ?4
     WHERE link_id = ?1`,
  )
    .bind(link.linkId, Date.now(), nextProbeAt, error)
    .run();
}

export async function markUp(env: IndexEnv, link: Link): Promise<void> {
  await env.INDEX.prepare(
    "UPDATE links SET down_since = NULL, next_probe_at = NULL, probes = 0, last_error = NULL WHERE link_id = ?1",
  )
    .bind(link.linkId)
    .run();
}
