/**
 * Object storage as the control API sees it: the zones, and the organization's buckets with what they hold.
 */
import { type DirectoryEntry, listBuckets } from "../directory.ts";
import { type BucketUsage, findZone, peer, zones } from "../zones.ts";
import type { ControlEnv } from "./environment.ts";
import { operation } from "./operation.ts";

const PAGE = 1000;
/** milliseconds that a zone has to say what its buckets hold; `exo` gives up after 15 s */
const ZONE_TIMEOUT = 5000;

/** Unsigned: `exo` asks it before it knows where to send what it signs. */
export function listZones(env: ControlEnv): object {
  return {
    zones: zones(env).map(({ name, endpoint }) => ({
      name,
      "api-endpoint": env.API_ENDPOINT,
      "sos-endpoint": endpoint,
    })),
  };
}

/** Sizes come from the zones. A zone that can't be reached leaves its buckets in the list, without `size`. */
export const ListSosBucketsUsage = operation(
  "GET /sos-buckets-usage",
  { service: "sos", operation: "list-sos-buckets-usage" },
  async ({ env, identity }) => {
    const entries = await listAllBuckets(env, identity.organization.id);
    const usage = await usageOf(env, entries);
    return { "sos-buckets-usage": entries.map((entry) => show(entry, usage.get(entry.bucketId))) };
  },
);

function show({ name, zone, createdAt }: DirectoryEntry, usage: BucketUsage | undefined): object {
  const size = usage && { size: usage.bytes };
  return { name, "zone-name": zone, ...size, "created-at": new Date(createdAt).toISOString() };
}

async function listAllBuckets(env: ControlEnv, organizationId: string): Promise<DirectoryEntry[]> {
  const all: DirectoryEntry[] = [];
  for (;;) {
    const page = await listBuckets(env, organizationId, { after: all.at(-1)?.name, limit: PAGE });
    all.push(...page);
    if (page.length < PAGE) return all;
  }
}

/** By bucket number; all zones are asked at once. */
async function usageOf(env: ControlEnv, entries: DirectoryEntry[]): Promise<Map<number, BucketUsage>> {
  const byZone = Map.groupBy(entries, ({ zone }) => zone);
  const answers = await Promise.allSettled(
    Array.from(byZone, ([zone, buckets]) =>
      usageInZone(
        env,
        zone,
        buckets.map(({ bucketId }) => bucketId),
      ),
    ),
  );
  const usages = answers.flatMap((answer) => (answer.status === "fulfilled" ? answer.value : []));
  return new Map(usages.map((usage) => [usage.bucketId, usage]));
}

async function usageInZone(env: ControlEnv, name: string, bucketIds: number[]): Promise<BucketUsage[]> {
  const zone = findZone(env, name);
  const binding = zone && peer(env, zone);
  if (!binding) return [];
  return await Promise.race([binding.usage(bucketIds), timeout(name)]);
}

async function timeout(zone: string): Promise<never> {
  await scheduler.wait(ZONE_TIMEOUT);
  throw new Error(`zone ${zone} did not answer within ${ZONE_TIMEOUT} ms`);
}
