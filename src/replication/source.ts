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
import { randomUUID } from "node:crypto";
import { isS3Error } from "../errors.ts";
import { logError, logEvent } from "../log.ts";
import { type Bucket, findBucketRow } from "../store/buckets.ts";
import { getLink, type Link, markDown, markUp } from "../store/links.ts";
import { listDue, type Result, recordResults, requeueFailed, type Task } from "../store/outbox.ts";
import { sequencer } from "../store/slots.ts";
import { causesNow, causesOf, findRoute, isReachable, Obstacle, type Route } from "./route.ts";
import { type Budget, ship } from "./shipment.ts";

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
/** Calls to other zones that one invocation makes, all its drains together: Cloudflare allows 32. */
const MAX_CALLS = 30;
/** Drains at once in one invocation, which has 128 MB. The others are woken again. */
const MAX_DRAINS = 6;
/** A link that is down is probed after 1 s, 2 s, 4 s ... */
const MAX_PROBE_MS = 15_000;
/** Longer waits than this are left to the sweep. */
const MAX_DELAY_SECONDS = 60;
/** A message that comes this little before its time does. */
const EARLY_MS = 500;
/** A lease lasts three times as long. */
const RENEW_MS = 15_000;

/**
 * A batch of the queue. Never throws: the simulator would deliver what was acknowledged again. A message that gets lost
 * costs time, not data: the sweep finds what is due.
 */
export async function consume(batch: MessageBatch<Wake>, env: Env): Promise<void> {
  const places = [...Map.groupBy(batch.messages, ({ body }) => `${body.linkId}/${body.slot}`).values()];
  const budget = { calls: MAX_CALLS };
  const drains = places.slice(0, MAX_DRAINS).map((messages) => follow(env, messages, budget));
  const later = places.slice(MAX_DRAINS).map(async (messages) => {
    await env.REPLICATION.send(wakeOf(messages));
    for (const message of messages) message.ack();
  });
  await Promise.allSettled([...drains, ...later]);
}

async function follow(env: Env, messages: Message<Wake>[], budget: Budget): Promise<void> {
  try {
    await drain(env, wakeOf(messages), budget);
    for (const message of messages) message.ack();
  } catch (error) {
    const { linkId, slot } = messages[0]!.body;
    logError(env, "a drain broke off", error, { link: linkId, slot });
    for (const message of messages) message.retry({ delaySeconds: 5 });
  }
}

/** What several messages about one place say. */
function wakeOf(messages: readonly Message<Wake>[]): Wake {
  return { ...messages[0]!.body, hasChanged: messages.some(({ body }) => body.hasChanged) };
}

/** Sends what is due. Wakes the link again if there is more. */
async function drain(env: Env, wake: Wake, budget: Budget): Promise<void> {
  const link = await getLink(env, wake.linkId);
  const now = Date.now();
  if (link?.state !== "active") return;
  if (isEarly(link, now) && !wake.hasChanged) return;
  const slot = sequencer(env, { bucketId: link.bucketId, slot: wake.slot });
  const holder = randomUUID();
  if (!(await slot.acquire(link.linkId, holder))) {
    if (wake.hasChanged) await env.REPLICATION.send(wake, { delaySeconds: 1 });
    return;
  }
  // A renewal that fails costs a second drain at most, which is harmless.
  const renewing = setInterval(() => void slot.renew(link.linkId, holder).catch(() => {}), RENEW_MS);
  let isMore = false;
  const drained: Drained = { count: 0, bytes: 0, failed: 0, retried: 0, outcome: "broke off" };
  try {
    isMore = await work(env, link, wake, { deadline: now + WORK_MS, budget }, drained);
    if (drained.outcome !== "down") drained.outcome = isMore ? "more" : "drained";
  } finally {
    clearInterval(renewing);
    tell(env, link, wake.slot, drained, Date.now() - now);
    const isWoken = await slot.release(link.linkId, holder);
    if (isWoken || isMore) await wakeLink(env, link, wake.slot);
  }
}

/** A probe that is put off for longer than any was put off by a clock that has been set back since. */
function isEarly({ nextProbeAt }: Link, now: number): boolean {
  const wait = (nextProbeAt ?? now) - now;
  return wait > EARLY_MS && wait <= MAX_PROBE_MS;
}

async function wakeLink(env: Env, { linkId }: Link, slot: number, delaySeconds = 0): Promise<void> {
  await env.REPLICATION.send({ linkId, slot } satisfies Wake, { delaySeconds });
}

/** What a drain did, for the log. */
interface Drained {
  /** versions that the destination gave its receipt for, and their bytes */
  count: number;
  bytes: number;
  failed: number;
  retried: number;
  /** `more`: it is woken again; `down`: the destination is */
  outcome: "drained" | "more" | "down" | "broke off";
}

/** Most wakes find nothing to do, and a line each would hide the others. */
function tell(env: Env, link: Link, slot: number, drained: Drained, ms: number): void {
  if (drained.outcome === "drained" && drained.count + drained.failed + drained.retried === 0) return;
  logEvent(env, "replication", { link: link.linkId, bucket: link.bucketId, slot, ...drained, ms });
}

function add(drained: Drained, results: Result[]): void {
  for (const result of results) {
    if ("failed" in result) drained.failed++;
    else if ("retry" in result) drained.retried++;
    else if (result.task.version) {
      drained.count++;
      drained.bytes += result.task.version.size;
    }
  }
}

/** True if it stopped with work left. */
async function work(
  env: Env,
  link: Link,
  wake: Wake,
  limits: { deadline: number; budget: Budget },
  drained: Drained,
): Promise<boolean> {
  const source = await findBucketRow(env, link.bucketId);
  if (!source?.replication) return false;
  if (wake.hasChanged) await requeueMended(env, link, source, limits.budget);
  while (limits.budget.calls > 0 && Date.now() < limits.deadline) {
    const tasks = await listDue(env, link, wake.slot, TASKS);
    if (tasks.length === 0) return false;
    const route = await openRoute(env, link, source, wake.slot, tasks, limits.budget);
    if (route === "down") {
      drained.outcome = "down";
      return false;
    }
    if (route === "failed") {
      drained.failed += tasks.filter(({ version }) => version).length;
      continue;
    }
    const causes = await causesOf(env, source, route.role);
    const { results, outage } = await ship(env, route, causes, tasks, limits);
    await recordResults(env, link, wake.slot, results);
    add(drained, results);
    await wakeForRetries(env, link, wake.slot, results);
    if (outage !== undefined) {
      await goDown(env, link, wake.slot, outage);
      drained.outcome = "down";
      return false;
    }
  }
  return true;
}

/**
 * What was put off is woken at its time, or a moment later: a wake-up that comes early finds nothing due. A longer wait is
 * left to the sweep.
 */
async function wakeForRetries(env: Env, link: Link, slot: number, results: Result[]): Promise<void> {
  const now = Date.now();
  const waits = results.flatMap((result) => {
    return "retry" in result ? Math.max(Math.ceil((result.retry.nextAttemptAt + EARLY_MS - now) / 1000), 0) : [];
  });
  const body = { linkId: link.linkId, slot } satisfies Wake;
  const soon = [...new Set(waits)].filter((wait) => wait <= MAX_DELAY_SECONDS);
  if (soon.length > 0) await env.REPLICATION.sendBatch(soon.map((delaySeconds) => ({ body, delaySeconds })));
}

/** The route, open; or `failed` once the tasks have failed for want of one, `down` once the link was put down. */
async function openRoute(
  env: Env,
  link: Link,
  source: Bucket,
  slot: number,
  tasks: Task[],
  budget: Budget,
): Promise<Route | "failed" | "down"> {
  try {
    const route = await findRoute(env, link, source);
    if (link.downSince === null) return route;
    budget.calls--;
    if (await isReachable(env, route)) {
      await comeUp(env, link, source);
      return route;
    }
    await goDown(env, link, slot, link.lastError ?? "");
    return "down";
  } catch (error) {
    if (error instanceof Obstacle) {
      await failAll(env, link, source, slot, tasks, error);
      return "failed";
    }
    if (!isS3Error(error)) throw error;
    await goDown(env, link, slot, error.message);
    return "down";
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
  const cause = (await causesOf(env, source)).of(reason);
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
  if (link.downSince === null) logEvent(env, "link-down", { link: link.linkId, bucket: link.bucketId, slot, error });
  await wakeLink(env, link, slot, Math.ceil(wait / 1000));
}

/** The first success releases the whole backlog: that of the other slots too. */
async function comeUp(env: Env, link: Link, source: Bucket): Promise<void> {
  await markUp(env, link);
  logEvent(env, "link-up", { link: link.linkId, bucket: link.bucketId, ms: Date.now() - link.downSince! });
  link.downSince = null;
  link.probes = 0;
  for (let slot = 0; slot < source.slots; slot++) await wakeLink(env, link, slot);
}

/** Puts back what failed for a reason that is mended by now. */
export async function requeueMended(env: Env, link: Link, source: Bucket, budget: Budget): Promise<void> {
  budget.calls--;
  const causes = await causesNow(env, link, source);
  while (await requeueFailed(env, link, causes));
}
