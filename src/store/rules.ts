/**
 * Replication rules, understood, and which links they bind a version to. Pure: decided from the configuration alone.
 */
import type { Description } from "./versions.ts";

/** A rule, understood. What the client sent stands in the configuration's `document`. */
export interface ReplicationRule {
  id: string;
  priority: number;
  isEnabled: boolean;
  prefix: string;
  tags: Record<string, string>;
  replicatesDeleteMarkers: boolean;
  /** of the replicas; undefined: that of their source */
  storageClass?: string;
  destination: { bucketId: number; name: string };
  /** given by the store */
  linkId: number;
}

export interface ReplicationConfiguration {
  /** id (UUID) of the role that is assumed */
  role: string;
  rules: ReplicationRule[];
  /** as the client sent it, for GetBucketReplication: read and written by the door alone */
  document: unknown;
}

/** What decides whether a rule binds a version. */
export type Bindable = Pick<Description, "tags"> & { key: string; isDeleteMarker: boolean };

/**
 * Link ids that a new version is to travel by: for each destination, the enabled rule of the highest priority that
 * matches key and tags. A delete marker has no tags, and travels only if that rule says so.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/replication-add-config.html
 */
export function bindLinks(configuration: ReplicationConfiguration | null, version: Bindable): number[] {
  const winners = new Map<number, ReplicationRule>();
  for (const rule of configuration?.rules ?? []) {
    if (!rule.isEnabled || !matches(rule, version)) continue;
    const winner = winners.get(rule.destination.bucketId);
    if (!winner || rule.priority > winner.priority) winners.set(rule.destination.bucketId, rule);
  }
  return [...winners.values()]
    .filter((rule) => !version.isDeleteMarker || rule.replicatesDeleteMarkers)
    .map((rule) => rule.linkId);
}

function matches(rule: ReplicationRule, version: Bindable): boolean {
  if (!version.key.startsWith(rule.prefix)) return false;
  return Object.entries(rule.tags).every(([name, value]) => version.tags[name] === value);
}
