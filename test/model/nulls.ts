/**
 * Null versions where replicas arrive beside them: their ids are hidden, so that they have no place in a register. What
 * can be said all the same: once a write without versioning is acknowledged there is a null version, that of a write
 * which no other one followed. Nobody removes one by the id `null` here.
 */
import type { Facts } from "./facts.ts";
import { type End, isWrite, NULL, type Operation, type Violation } from "./history.ts";
import { wrong } from "./versions.ts";

export function checkNulls(facts: Facts): Violation[] {
  const { operations, finals, shape } = facts.history;
  if (shape !== "one-way") return [];
  const reads = operations.filter(({ kind, versionId, seen }) => kind === "getVersion" && versionId === NULL && seen);
  const found = reads.map(({ key, end, start, seen }) => {
    return { key, end, start, isThere: seen!.versionId !== undefined, writer: seen!.writer };
  });
  const keys = new Set(operations.map(({ key }) => key).filter((key) => key !== ""));
  const atLast = Array.from(keys, (key) => {
    const version = finals[1].versions.find((each) => each.key === key && each.versionId === NULL);
    const writer = version?.seen?.writer;
    return { key, end: 1 as End, start: Number.POSITIVE_INFINITY, isThere: version !== undefined, writer };
  });
  return [...found, ...atLast].flatMap((look) => checkLook(facts, look));
}

interface Look {
  key: string;
  end: End;
  start: number;
  isThere: boolean;
  writer?: string;
}

function checkLook({ history, writes }: Facts, { key, end, start, isThere, writer }: Look): Violation[] {
  const before = history.operations.filter(
    (each) => each.key === key && each.end === end && isNullWrite(each) && each.finish < start,
  );
  const version = { key, versionId: NULL };
  const [first] = before;
  if (first && !isThere) return [wrong("nulls", version, `${first.id} was acknowledged, and there is none`, end)];
  const write = writes.get(writer ?? "");
  const next = write && before.find((each) => each.id !== write.id && each.start > write.finish);
  return next ? [wrong("nulls", version, `it is that of ${write.id}, and ${next.id} followed`, end)] : [];
}

/** A DELETE where versioning is suspended leaves a delete marker that is the null version. */
function isNullWrite(operation: Operation): boolean {
  const { kind, result, versionId } = operation;
  return result === "ok" && versionId === NULL && (isWrite(operation) || kind === "delete");
}
