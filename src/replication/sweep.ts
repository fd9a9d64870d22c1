/**
 * The sweep, every minute: the guarantee behind the queue, whose messages may get lost. It wakes links with rows that
 * are due, puts back what failed for a reason that is mended, settles buckets that a crash left half made or half
 * removed, and clears away what nothing names.
 */
import { listUnsettled, releaseName, setBucketState } from "../directory.ts";
import { isS3Error } from "../errors.ts";
import { createBucket, deleteBucket, findBucketRow } from "../store/buckets.ts";
import { clearUploads, emptyGarbage, forgetBucket, listForgotten, scrub } from "../store/garbage.ts";
import { getLink } from "../store/links.ts";
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

/** Does each chore, also if another fails; throws the first failure at the end, for the platform to show. */
export async function sweep(env: Env): Promise<void> {
  const chores = [requeueAllMended, wakeDue, settleBuckets, forgetBuckets, clear];
  const failures: unknown[] = [];
  for (const chore of chores) {
    try {
      await chore(env);
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
}

async function requeueAllMended(env: Env): Promise<void> {
  const budget = { calls: MAX_ASKED };
  for (const linkId of await listFailedLinks(env, MAX_ASKED)) {
    const link = await getLink(env, linkId);
    const source = link && (await findBucketRow(env, link.bucketId));
    if (source?.replication) await requeueMended(env, link!, source, budget);
  }
}

async function wakeDue(env: Env): Promise<void> {
  const wakes = await listWakeable(env, MAX_WAKES);
  for (let i = 0; i < wakes.length; i += 100) {
    await env.REPLICATION.sendBatch(wakes.slice(i, i + 100).map((body) => ({ body: body satisfies Wake })));
  }
}

/** What stands in the directory as `creating` is finished; as `deleting`, finished or undone. */
async function settleBuckets(env: Env): Promise<void> {
  for (const entry of await listUnsettled(env, env.ZONE, Date.now() - UNSETTLED_MS)) {
    if (entry.state === "creating") {
      await createBucket(env, entry);
      await setBucketState(env, entry, "creating", "active");
    } else {
      await finishDeletion(env, entry);
    }
  }
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

async function forgetBuckets(env: Env): Promise<void> {
  for (const bucketId of await listForgotten(env)) await forgetBucket(env, bucketId);
}

async function clear(env: Env): Promise<void> {
  const now = Date.now();
  for (let step = 0; step < MAX_STEPS && (await emptyGarbage(env, now)) > 0; step++);
  await clearUploads(env, now);
  await scrub(env, now);
}
