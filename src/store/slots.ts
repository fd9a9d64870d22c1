/**
 * A bucket's slots, from outside: the way to the Sequencer that orders a key.
 */
import { S3Error } from "../errors.ts";
import { logError } from "../log.ts";
import type { Operation } from "./decide.ts";
import type { Slot } from "./fence.ts";
import { type FoundRow, findRow, parseFound } from "./reads.ts";
import type { Outcome, Sequencer, Settled } from "./sequencer.ts";
import { slotOf } from "./versions.ts";

/** Times that a commit is sent to its Sequencer, the first one counted. */
const TRIES = 3;

/**
 * Commits operations of one bucket in their slots' Sequencers; an error stands in its operation's place. A Sequencer
 * that dies under a commit is asked again, and then looks first whether that was done.
 * Throws ServiceUnavailable where it stays unknown what came of them.
 */
export async function commitAll(
  env: Pick<Env, "SEQUENCER">,
  bucket: { bucketId: number; slots: number },
  operations: Operation[],
): Promise<(Outcome | S3Error)[]> {
  const bySlot = Map.groupBy(operations, ({ key }) => slotOf(key, bucket.slots));
  const outcomes = new Map<Operation, Outcome | S3Error>();
  await Promise.all(
    [...bySlot].map(async ([slot, members]) => {
      const settled = await commitSlot(env, { bucketId: bucket.bucketId, slot }, members);
      for (const [i, member] of members.entries()) outcomes.set(member, unsettle(settled[i]!));
    }),
  );
  return operations.map((operation) => outcomes.get(operation)!);
}

/** Commits one operation. Throws its S3Error. */
export async function commitOne(
  env: Pick<Env, "SEQUENCER">,
  bucket: { bucketId: number; slots: number },
  operation: Operation,
): Promise<Outcome> {
  const [outcome] = await commitAll(env, bucket, [operation]);
  if (outcome instanceof S3Error) throw outcome;
  return outcome!;
}

async function commitSlot(env: Pick<Env, "SEQUENCER">, place: Slot, operations: Operation[]): Promise<Settled[]> {
  for (let tries = 1; ; tries++) {
    try {
      const isRepeat = tries > 1;
      return await sequencer(env, place).commit(
        place,
        isRepeat ? operations.map((o) => ({ ...o, isRepeat })) : operations,
      );
    } catch (error) {
      if (tries < TRIES) continue;
      logError(env, "a Sequencer doesn't answer", error, { bucket: place.bucketId, slot: place.slot });
      throw new S3Error("ServiceUnavailable");
    }
  }
}

/** When the reads began that this isolate has under way (milliseconds, in order), by the name of their slot. */
const underWay = new Map<string, { begun: number[]; isTogether: boolean }>();
/** From so many at once they go together, until one is left: below, the way there costs more than it saves. */
const TOGETHER = 4;
/** One that began longer ago was given up by its client; nothing says so when that happens. */
const GIVEN_UP_MS = 5000;
/** Milliseconds that a read waits for those that it was put together with. */
const PATIENCE_MS = 1000;

/**
 * The current version of a key: straight from INDEX, or read together with others where many are read. That is done in
 * an instance of its own, so that reads neither wait for commits nor take their time; one that is overloaded, ends or
 * hangs is no reason to fail a read. Undefined if there is no such bucket.
 */
export async function findCurrent(env: Env, place: Slot, key: string): Promise<FoundRow | undefined> {
  const name = `${nameOf(place)}/reads`;
  const reads = underWay.get(name) ?? { begun: [], isTogether: false };
  underWay.set(name, reads);
  const now = Date.now();
  while (reads.begun[0]! < now - GIVEN_UP_MS) reads.begun.shift();
  reads.begun.push(now);
  reads.isTogether = reads.begun.length >= (reads.isTogether ? 2 : TOGETHER);
  try {
    return reads.isTogether ? await findTogether(env, name, place, key) : await findRow(env, place, key);
  } finally {
    // One that took so long isn't counted any more, and others may be under way by now.
    const at = reads.begun.indexOf(now);
    if (at >= 0) reads.begun.splice(at, 1);
    if (reads.begun.length === 0 && underWay.get(name) === reads) underWay.delete(name);
  }
}

async function findTogether(env: Env, name: string, place: Slot, key: string): Promise<FoundRow | undefined> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const tooLong = new Promise<never>((_, fail) => {
    timer = setTimeout(() => fail(new Error("the reads hang")), PATIENCE_MS);
  });
  const found = env.SEQUENCER.getByName(name).find(place, key);
  return await Promise.race([found, tooLong])
    .then(
      (text) => parseFound(place.bucketId, text),
      () => findRow(env, place, key),
    )
    .finally(() => clearTimeout(timer));
}

function nameOf({ bucketId, slot }: Slot): string {
  return `${bucketId}/${slot}`;
}

/** The stub of a slot; made anew each time, because one whose object died stays broken. */
export function sequencer(env: Pick<Env, "SEQUENCER">, place: Slot): DurableObjectStub<Sequencer> {
  return env.SEQUENCER.getByName(nameOf(place));
}

function unsettle(settled: Settled): Outcome | S3Error {
  if ("outcome" in settled) return settled.outcome;
  const { code, message, details } = settled.error;
  return new S3Error(code, message, details);
}
