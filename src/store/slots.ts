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

/** Reads that this isolate has under way, by the name of their slot. */
const underWay = new Map<string, { count: number; isTogether: boolean }>();
/** From so many at once they go together, until none is left: below, the way there costs more than it saves. */
const TOGETHER = 4;

/**
 * The current version of a key: straight from INDEX, or read together with others in the Sequencer where many are read.
 * One that is overloaded or ends is no reason to fail a read, which needs no order. Undefined if there is no such bucket.
 */
export async function findCurrent(env: Env, place: Slot, key: string): Promise<FoundRow | undefined> {
  const name = nameOf(place);
  const reads = underWay.get(name) ?? { count: 0, isTogether: false };
  underWay.set(name, reads);
  reads.count++;
  reads.isTogether ||= reads.count >= TOGETHER;
  try {
    if (!reads.isTogether) return await findRow(env, place, key);
    return await sequencer(env, place)
      .find(place, key)
      .then(
        (found) => parseFound(place.bucketId, key, found),
        () => findRow(env, place, key),
      );
  } finally {
    if (--reads.count === 0) underWay.delete(name);
  }
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
