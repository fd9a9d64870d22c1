/**
 * Drains a link: sends what is due from one slot to the link's destination, oldest first, and writes down what came of
 * it. State lives in rows (store/outbox.ts), so a drain may end or be doubled anywhere.
 *
 * A drain takes the slot's lease on the link, works for a bounded time and number of calls, and then wakes the link
 * again: the local simulator runs a queue's batches one after the other, and Cloudflare counts each call over a
 * binding. A version is COMPLETED only on the destination's receipt for it. What can heal by itself stays PENDING: a
 * destination that doesn't answer puts the link down, and one probe at a time looks whether it is back. What somebody
 * must mend becomes FAILED with its reason.
 */
import { isS3Error } from "../errors.ts";
import { type Bucket, findBucketRow } from "../store/buckets.ts";
import { getLink, type Link, markDown, markUp } from "../store/links.ts";
import { listDue, type Result, recordResults, requeueFailed, type Task } from "../store/outbox.ts";
import { sequencer } from "../store/sequencer.ts";
import { causeOf, causesNow, findRoute, isReachable, Obstacle, type Route, roleCause } from "./route.ts";
import { ship } from "./shipment.ts";

/** Wakes one slot of a link. `hasChanged`: something that failed may have been mended. */
export interface Wake {
  linkId: number;
  slot: number;
  hasChanged?: boolean;
}

/** Tasks read at once. */
const TASKS = 250;
/** Milliseconds that one drain works before it lets others have their turn. */
const WORK_MS = 20_000;
/** Calls to another zone in one drain. */
const MAX_CALLS = 30;
/** A link that is down is probed after 1 s, 2 s, 4 s ... */
const MAX_PROBE_MS = 15_000;
/** Longer waits than this are left to the sweep. */
const MAX_DELAY_SECONDS = 60;
/** A message that comes this little before its time does. */
const EARLY_MS = 500;

/**
 * A batch of the queue. Never throws: the simulator would deliver what was acknowledged again. A message that gets lost
 * costs time, not data: the sweep finds what is due.
 */
export async function consume(batch: MessageBatch<Wake>, env: Env): Promise<void> {
  const byPlace = Map.groupBy(batch.messages, ({ body }) => `${body.linkId}/${body.slot}`);
  await Promise.all(
    [...byPlace.values()].map(async (messages) => {
      const hasChanged = messages.some(({ body }) => body.hasChanged);
      try {
        await drain(env, { ...messages[0]!.body, hasChanged });
        for (const message of messages) message.ack();
      } catch (error) {
        console.error(`replication of link ${messages[0]!.body.linkId}: ${error}`);
        for (const message of messages) message.retry({ delaySeconds: 5 });
      }
    }),
  );
}

/** Sends what is due. Wakes the link again if there is more. */
export async function drain(env: Env, wake: Wake): Promise<void> {
  const link = await getLink(env, wake.linkId);
  const now = Date.now();
  if (link?.state !== "active") return;
  if (link.nextProbeAt !== null && link.nextProbeAt - EARLY_MS > now && !wake.hasChanged) return;
  const slot = sequencer(env, { bucketId: link.bucketId, slot: wake.slot });
  if (!(await slot.acquire(link.linkId))) return;
  let isMore = false;
  try {
    isMore = await work(env, link, wake, now + WORK_MS);
  } finally {
    const isWoken = await slot.release(link.linkId);
    if (isWoken || isMore) await wakeLink(env, link, wake.slot);
  }
}

async function wakeLink(env: Env, { linkId }: Link, slot: number, delaySeconds = 0): Promise<void> {
  await env.REPLICATION.send({ linkId, slot } satisfies Wake, { delaySeconds });
}

/** True if it stopped with work left. */
async function work(env: Env, link: Link, wake: Wake, deadline: number): Promise<boolean> {
  const source = await findBucketRow(env, link.bucketId);
  if (!source?.replication) return false;
  if (wake.hasChanged) await requeueMended(env, link, source);
  for (let calls = 0; calls < MAX_CALLS && Date.now() < deadline; ) {
    const tasks = await listDue(env, link, wake.slot, TASKS);
    if (tasks.length === 0) return false;
    const route = await openRoute(env, link, source, wake.slot, tasks);
    if (!route) return false;
    const causes = { role: await roleCause(env, source), destination: undefined };
    const shipped = await ship(env, route, causes, tasks, { deadline, calls: MAX_CALLS - calls });
    await recordResults(env, link, wake.slot, shipped.results);
    await wakeForRetries(env, link, wake.slot, shipped.results);
    if (shipped.outage !== undefined) {
      await goDown(env, link, wake.slot, shipped.outage);
      return false;
    }
    calls += Math.max(shipped.calls, 1);
  }
  return true;
}

/** What was put off is woken at its time; a longer wait is left to the sweep. */
async function wakeForRetries(env: Env, link: Link, slot: number, results: Result[]): Promise<void> {
  const times = results.flatMap((result) => ("retry" in result ? result.retry.nextAttemptAt : []));
  const wait = Math.ceil((Math.min(...times) - Date.now()) / 1000);
  if (wait <= MAX_DELAY_SECONDS) await wakeLink(env, link, slot, Math.max(wait, 0));
}

/** The route, open; undefined once the tasks have failed for want of one, or the link was put down. */
async function openRoute(
  env: Env,
  link: Link,
  source: Bucket,
  slot: number,
  tasks: Task[],
): Promise<Route | undefined> {
  try {
    const route = await findRoute(env, link, source);
    if (link.downSince === null) return route;
    if (await isReachable(env, route)) {
      await comeUp(env, link, source);
      return route;
    }
    await goDown(env, link, slot, link.lastError ?? "");
    return undefined;
  } catch (error) {
    if (error instanceof Obstacle) await failAll(env, link, source, slot, tasks, error);
    else if (isS3Error(error)) await goDown(env, link, slot, error.message);
    else throw error;
    return undefined;
  }
}

async function failAll(
  env: Env,
  link: Link,
  source: Bucket,
  slot: number,
  tasks: Task[],
  { reason }: Obstacle,
): Promise<void> {
  const cause = causeOf(reason, { role: await roleCause(env, source), destination: undefined });
  await recordResults(
    env,
    link,
    slot,
    tasks.map((task) => (task.version ? { task, failed: { reason, cause } } : { task, arrived: true })),
  );
}

async function goDown(env: Env, link: Link, slot: number, error: string): Promise<void> {
  const wait = Math.min(MAX_PROBE_MS, 1000 * 2 ** link.probes);
  await markDown(env, link, error, Date.now() + wait);
  await wakeLink(env, link, slot, Math.ceil(wait / 1000));
}

/** The first success releases the whole backlog: that of the other slots too. */
async function comeUp(env: Env, link: Link, source: Bucket): Promise<void> {
  await markUp(env, link);
  link.downSince = null;
  link.probes = 0;
  for (let slot = 0; slot < source.slots; slot++) await wakeLink(env, link, slot);
}

/** Puts back what failed for a reason that is mended by now. True if there was anything. */
export async function requeueMended(env: Env, link: Link, source: Bucket): Promise<boolean> {
  return await requeueFailed(env, link, await causesNow(env, link, source));
}
