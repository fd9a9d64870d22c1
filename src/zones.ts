/**
 * The zones there are: name, number, endpoint, and how to reach one.
 *
 * A zone's number (0-63) stands in every version id that it gave, so it never changes. A zone of the same Cloudflare
 * account is reached by the service binding `PEER_<NAME>` to its entrypoint `Peer`, which nothing from outside can
 * reach: what comes through it is known to come from a zone, and needs no header that a client could forge.
 */
export interface Zone {
  name: string;
  number: number;
  /** origin of its S3 endpoint, without a trailing slash */
  endpoint: string;
}

/** Objects and bytes (all versions, delete markers not counted) that a bucket holds. */
export interface BucketUsage {
  bucketId: number;
  objects: number;
  bytes: number;
}

/** What a zone offers to the other Workers of its account. */
export interface PeerMethods {
  /**
   * Answers `request` at the zone's own S3 door. `target` is the request target as the client sent it: a Request that
   * is passed on folds `a/../` and `%2E%2E` on the way (measured), a string beside it doesn't.
   */
  serve(request: Request, target: string, sourceIp: string): Promise<Response>;
  usage(bucketIds: number[]): Promise<BucketUsage[]>;
  /** Names of an organization's buckets in the zone whose replication configuration passes on this role. */
  bucketsUsingRole(organizationId: string, roleId: string): Promise<string[]>;
}

type ZonesEnv = Pick<Env, "ZONES">;

export function zones(env: ZonesEnv): Zone[] {
  return env.ZONES as Zone[];
}

export function findZone(env: ZonesEnv, name: string): Zone | undefined {
  return zones(env).find((zone) => zone.name === name);
}

/** The zone that this Worker serves. */
export function here(env: Pick<Env, "ZONES" | "ZONE">): Zone {
  const zone = findZone(env, env.ZONE);
  if (!zone) throw new Error(`ZONES names no zone ${env.ZONE}`);
  return zone;
}

/** The binding to a zone, or undefined for a zone of another account, which only HTTPS reaches. */
export function peer(env: ZonesEnv, zone: Zone): PeerMethods | undefined {
  const binding = `PEER_${zone.name.toUpperCase().replaceAll("-", "_")}`;
  return (env as unknown as Record<string, PeerMethods | undefined>)[binding];
}
