/**
 * The sweep, every minute: the guarantee behind the queue, whose messages may get lost. It wakes links with rows that
 * are due, puts back what failed for a reason that is mended, settles buckets that a crash left half made or half
 * removed, clears away what nothing names, and sums what is old of the figures. What it found to do stands in the log.
 */
import { listUnsettled, releaseName, setBucketState } from "../directory.ts";
import { isS3Error } from "../errors.ts";
import { logError, logEvent } from "../log.ts";
import { createBucket, deleteBucket, findBucketRow } from "../store/buckets.ts";
import { clearUploads, emptyGarbage, forgetBucket, listForgotten, scrub } from "../store/garbage.ts";
import { getLink } from "../store/links.ts";
import { foldMinutes } from "../store/metrics.ts";
import { listFailedLinks, listWakeable } from "../store/outbox.ts";
import { requeueMended, type Wake } from "./source.ts";

/** Pairs of link and slot woken in one sweep. */
const MAX_WAKES = 1000;
/** Destinations asked in one sweep how they stand: Cloudflare allows 32 calls an invocation. Others have their turn. */
const MAX_ASKED = 24;
/** A bucket that stands half made or half removed for this long was left so. */
const UNSETTLED_MS = 60_000;
/** Steps of a thousand bodies each that one sweep clears. */
const MAX_STEPS = 50;

/**
 * What is done, under the name that the log gives it; each tells how much there was to do. `links`: those with FAILED
 * versions that were asked about; `woken`: pairs of link and slot; `bodies`: removed from BLOBS.
 */
const CHORES: Record<string, (env: Env) => Promise<number>> = {
  links: requeueAllMended,
  woken: wakeDue,
  settled: settleBuckets,
  forgotten: forgetBuckets,
  bodies: clear,
  folded: fold,
};

/** Does each chore, also if another fails; throws the first failure at the end, for the platform to show. */
export async function sweep(env: Env): Promise<void> {
  const start = Date.now();
  const done: Record<string, number> = {};
  const failures: unknown[] = [];
  for (const [name, chore] of Object.entries(CHORES)) {
    try {
      done[name] = await chore(env);
    } catch (error) {
      logError(env, "a chore of the sweep failed", error, { chore: name });
      failures.push(error);
    }
  }
  if (Object.values(done).some((count) => count > 0)) logEvent(env, "sweep", { ...done, ms: Date.now() - start });
  if (failures.length > 0) throw failures[0];
}

async function requeueAllMended(env: Env): Promise<number> {
  const budget = { calls: MAX_ASKED };
  const linkIds = await listFailedLinks(env, MAX_ASKED);
  for (const linkId of linkIds) {
    const link = await getLink(env, linkId);
    const source = link && (await findBucketRow(env, link.bucketId));
    if (source?.replication) await requeueMended(env, link!, source, budget);
  }
  return linkIds.length;
}

async function wakeDue(env: Env): Promise<number> {
  const wakes = await listWakeable(env, MAX_WAKES);
  for (let i = 0; i < wakes.length; i += 100) {
    await env.REPLICATION.sendBatch(wakes.slice(i, i + 100).map((body) => ({ body: body satisfies Wake })));
  }
  return wakes.length;
}

/** What stands in the directory as `creating` is finished; as `deleting`, finished or undone. */
async function settleBuckets(env: Env): Promise<number> {
  const entries = await listUnsettled(env, env.ZONE, Date.now() - UNSETTLED_MS);
  for (const entry of entries) {
    if (entry.state === "creating") {
      await createBucket(env, entry);
      await setBucketState(env, entry, "creating", "active");
    } else {
      await finishDeletion(env, entry);
    }
  }
  return entries.length;
}

async function finishDeletion(env: Env, entry: { bucketId: number; name: string }): Promise<void> {
  try {
    await deleteBucket(env, entry.bucketId);
    await releaseName(env, entry);
  } catch (error) {
    if (!isS3Error(error) || error.code !== "BucketNotEmpty") throw error;
    await setBucketState(env, entry, "deleting", "active");
  }
}

async function forgetBuckets(env: Env): Promise<number> {
  const bucketIds = await listForgotten(env);
  for (const bucketId of bucketIds) await forgetBucket(env, bucketId);
  return bucketIds.length;
}

async function clear(env: Env): Promise<number> {
  const now = Date.now();
  let bodies = 0;
  for (let step = 0; step < MAX_STEPS; step++) {
    const emptied = await emptyGarbage(env, now);
    if (emptied === 0) break;
    bodies += emptied;
  }
  await clearUploads(env, now);
  await scrub(env, now);
  return bodies;
}

/** It reads every row there is of its table, so once an hour is enough. */
async function fold(env: Env): Promise<number> {
  const now = Date.now();
  return Math.floor(now / 60_000) % 60 === 0 ? await foldMinutes(env, now) : 0;
}
