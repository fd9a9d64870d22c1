/**
 * Linearizability of one key at an end whose versioning changes and to which nothing is replicated. Null versions show
 * no id, so the state is the key's versions in the order in which they were written, the newest on top.
 *
 * A write without versioning takes the place of the null version, wherever that stands, and comes on top; a DELETE
 * without versioning just takes the null version away, and where versioning is suspended puts a null delete marker on
 * top. Which it was shows in the answer; of what wasn't answered all are possible.
 */
import { holds, isRefusedCondition, refusalFits } from "./conditions.ts";
import type { Facts, Write } from "./facts.ts";
import { type End, type Listed, NULL, type Operation, say } from "./history.ts";
import type { Verdict } from "./register.ts";
import { type Move, search } from "./search.ts";

interface Entry {
  writer: string;
  /** NULL of a null version; undefined: an id that nobody was told */
  versionId: string | undefined;
  isMarker: boolean;
  etag: string | undefined;
}

/** Oldest first. */
type Stack = Entry[];

export function checkStack(facts: Facts, key: string, end: End): Verdict {
  const { operations, finals } = facts.history;
  const own = operations.filter((each) => each.end === end && (each.key === key || each.key === ""));
  const writes = Array.from(facts.writes.values()).filter((write) => write.end === end && write.key === key);
  const found = search<Stack>({
    moves: [...writes.flatMap(writeMove), ...own.flatMap(removeMove), ...own.flatMap((each) => lookMove(each, key))],
    initial: [],
    nameOf: (stack) => stack.map(({ writer, versionId }) => `${writer} ${versionId}`).join(),
    isEnd: (stack) => isListed(stack, key, finals[end].versions),
  });
  if (found === "ok" || found === "given up") return found;
  const message = `no order of its operations explains what they were answered. The longest one that does leaves ${found.state.length} versions, and then none of these can be next: ${found.next.join("; ") || "the end"}`;
  return { check: "linearizable", key, end, message };
}

function writeMove(write: Write): Move<Stack>[] {
  const { operations, result, start, finish, isDelete } = write;
  if (result === "refused") return [];
  const { condition } = operations[0]!;
  const answered = operations.find((each) => each.result === "ok");
  const etag = answered?.etag ?? operations[0]!.expectedEtag;
  const entry = { writer: write.id, isMarker: isDelete, etag };
  const apply = (stack: Stack): Stack[] => {
    if (!holds(condition, etagOf(stack))) return [];
    const withoutNull = stack.filter(({ versionId }) => versionId !== NULL);
    const versioned = [...stack, { ...entry, versionId: write.versionId === NULL ? undefined : write.versionId }];
    const suspended = [...withoutNull, { ...entry, versionId: NULL }];
    if (!answered) return [versioned, suspended, ...(isDelete ? [withoutNull] : [])];
    if (answered.versionId === undefined) return [isDelete ? withoutNull : suspended];
    return [answered.versionId === NULL ? suspended : versioned];
  };
  return [{ name: say(operations[0]!), start, finish, isOptional: result === "unknown", apply }];
}

function removeMove(operation: Operation): Move<Stack>[] {
  const { kind, result, versionId, start, finish } = operation;
  if (kind !== "remove" || result === "refused") return [];
  const isUnknown = result === "unknown";
  const answered = isUnknown ? Number.POSITIVE_INFINITY : finish;
  const apply = (stack: Stack) => [stack.filter((entry) => entry.versionId !== versionId)];
  return [{ name: say(operation), start, finish: answered, isOptional: isUnknown, apply }];
}

function lookMove(operation: Operation, key: string): Move<Stack>[] {
  const fits = lookOf(operation, key);
  if (!fits) return [];
  const { start, finish } = operation;
  const apply = (stack: Stack) => (fits(stack) ? [stack] : []);
  return [{ name: say(operation), start, finish, isOptional: false, apply }];
}

function lookOf(operation: Operation, key: string): ((stack: Stack) => boolean) | undefined {
  const { kind, result, seen, listed } = operation;
  if (isRefusedCondition(operation)) return (stack) => refusalFits(operation, etagOf(stack));
  if (result !== "ok") return undefined;
  if (kind === "get" || kind === "head") return (stack) => isTop(stack, seen!);
  if (kind === "list") {
    const etag = listed!.find((each) => each.key === key)?.etag;
    return (stack) => etagOf(stack) === etag;
  }
  return kind === "listVersions" ? (stack) => isListed(stack, key, listed!) : undefined;
}

function isTop(stack: Stack, seen: NonNullable<Operation["seen"]>): boolean {
  const top = stack.at(-1);
  if (seen.writer !== undefined) return top?.writer === seen.writer;
  return seen.isMarker ? Boolean(top?.isMarker) : top === undefined;
}

function isListed(stack: Stack, key: string, listed: Listed[]): boolean {
  const versions = listed.filter((each) => each.key === key).reverse();
  return versions.length === stack.length && versions.every((version, i) => isThat(stack[i]!, version));
}

function isThat(entry: Entry, { versionId, isMarker, etag }: Listed): boolean {
  if (entry.isMarker !== isMarker || (entry.versionId === NULL) !== (versionId === NULL)) return false;
  if (entry.versionId !== undefined && entry.versionId !== versionId) return false;
  return isMarker || entry.etag === undefined || entry.etag === etag;
}

function etagOf(stack: Stack): string | undefined {
  const top = stack.at(-1);
  return top?.isMarker ? undefined : top?.etag;
}
