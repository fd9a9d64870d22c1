/**
 * What must be true of every version: an acknowledged one is there with its bytes until it is removed, one without an
 * answer is there whole or not at all, a refused one is nowhere, none is there twice or without a writer, and none that
 * was removed comes back. Each check is a function from what is known to what is wrong.
 */
import { etagFits, type Facts, isOf, type KnownVersion, nameOf, type Sighting, type Write } from "./facts.ts";
import {
  type End,
  type History,
  isVersioned,
  isWrite,
  mayHaveHappened,
  NULL,
  type Operation,
  type Seen,
  type Violation,
} from "./history.ts";

const ENDS: End[] = [0, 1];

/** Null versions are left out wherever an id must tell one version from another. */
function hasId({ versionId }: { versionId?: string }): boolean {
  return versionId !== undefined && versionId !== NULL;
}

/** Acknowledged versions that nobody removed stand at their own end, with their bytes; and their answers name them. */
export function checkAcknowledged(facts: Facts): Violation[] {
  const answers = facts.history.operations.flatMap((operation) => checkAnswer(facts, operation));
  const lost = written(facts).flatMap((write) => {
    const { end, key } = write;
    const version = { key, versionId: write.versionId! };
    if (write.result !== "ok" || facts.removals(version, end).length > 0) return [];
    const found = finalOf(facts.history, end, version);
    if (!found) return [wrong("acknowledged", version, `${write.id} was acknowledged, and it isn't there`, end)];
    if (write.isDelete) return [];
    return isOf(write, found.seen ?? {})
      ? []
      : [wrong("acknowledged", version, `${write.id} wrote other bytes than it has`, end)];
  });
  return [...answers, ...lost];
}

/** An answer without a version id, where each write makes a version, would leave a lost write unmissed. */
function checkAnswer({ history }: Facts, operation: Operation): Violation[] {
  const { key, end, id, kind, result, versionId, etag, expectedEtag } = operation;
  if (result !== "ok" || !(isWrite(operation) || kind === "delete")) return [];
  const version = { key, versionId: versionId ?? "no version" };
  if (isVersioned(history, end) && !hasId(operation)) {
    return [wrong("acknowledged", version, `${id} was acknowledged, and its answer names no version`, end)];
  }
  if (kind === "delete" || (etag !== undefined && (expectedEtag === undefined || etag === expectedEtag))) return [];
  return [wrong("acknowledged", version, `${id} was answered the ETag ${etag}, and has ${expectedEtag}`, end)];
}

/** What a read meets was written by somebody, as it was written, and not refused; and after quiet all can be read. */
export function checkReads(facts: Facts): Violation[] {
  const reads = facts.history.operations.flatMap(({ key, end, seen, finish }) =>
    seen?.versionId && !seen.isMarker ? checkRead(facts, { key, end, seen, finish }) : [],
  );
  const others = facts.history.operations.flatMap(({ kind, key, end, seen, versionId }) => {
    if (kind !== "getVersion" || !seen?.versionId || seen.versionId === versionId) return [];
    return [wrong("reads", { key, versionId: versionId! }, `it was asked for, and ${seen.versionId} answered`, end)];
  });
  const finals = ENDS.flatMap((end) =>
    facts.history.finals[end].versions.flatMap((version) => {
      const { key, seen, isMarker, failure } = version;
      if (isMarker) return [];
      if (!seen) return [wrong("reads", version, `it can't be read: ${failure}`, end)];
      return checkRead(facts, { key, end, seen, finish: Number.POSITIVE_INFINITY });
    }),
  );
  return [...reads, ...others, ...finals];
}

function checkRead(
  facts: Facts,
  { key, end, seen, finish }: { key: string; end: End; seen: Seen; finish: number },
): Violation[] {
  const version = { key, versionId: seen.versionId! };
  const write = facts.writes.get(seen.writer ?? "");
  if (!write) return [wrong("reads", version, "nobody wrote it", end)];
  if (write.key !== key || write.start > finish) {
    return [wrong("reads", version, `it says that ${write.id} wrote it, which is another key's or came later`, end)];
  }
  if (write.result === "refused") return [wrong("reads", version, `${write.id} was refused, and is there`, end)];
  return isOf(write, seen) ? [] : [wrong("reads", version, `its bytes aren't those of ${write.id}`, end)];
}

/** No write made two versions, no DELETE two delete markers, and nothing is listed that nobody wrote. */
export function checkOnce(facts: Facts): Violation[] {
  const byWriter = Map.groupBy(
    facts.sightings.filter(({ writer }) => writer !== undefined),
    ({ writer }) => writer!,
  );
  const doubled = Array.from(byWriter).flatMap(([id, sightings]) => {
    const write = facts.writes.get(id);
    const ids = new Set([
      ...sightings.map(({ versionId }) => versionId),
      ...(write?.versionId ? [write.versionId] : []),
    ]);
    if (ids.size < 2) return [];
    return [wrong("once", sightings[0]!, `${id} made ${ids.size} versions: ${[...ids].join(", ")}`)];
  });
  const repeats = Array.from(facts.writes.values()).flatMap((write) => {
    const answered = new Set(write.operations.flatMap(({ versionId }) => versionId ?? []));
    const version = { key: write.key, versionId: write.versionId ?? "" };
    return answered.size > 1 ? [wrong("once", version, `${write.id} was answered ${answered.size} version ids`)] : [];
  });
  return [...doubled, ...repeats, ...checkMarkers(facts), ...checkStrays(facts)];
}

/** Delete markers that no answer named: no more than there are DELETEs without an answer. */
function checkMarkers(facts: Facts): Violation[] {
  const strays = Array.from(facts.versions.values()).filter(
    (version) => version.isMarker && !version.writer && hasId(version),
  );
  const groups = Map.groupBy(strays, ({ key, bornAt }) => `${bornAt} ${key}`);
  return Array.from(groups.values()).flatMap((markers) => {
    const { key, bornAt } = markers[0]!;
    const unknown = Array.from(facts.writes.values()).filter(
      (write) => write.isDelete && write.key === key && write.end === bornAt && write.result === "unknown",
    );
    if (markers.length <= unknown.length) return [];
    const message = `${markers.length} delete markers without an acknowledged DELETE, and ${unknown.length} DELETEs without an answer`;
    return [wrong("once", markers[0]!, message, bornAt)];
  });
}

/** Versions that were only listed: each is that of a write without an answer, by its ETag. */
function checkStrays(facts: Facts): Violation[] {
  const strays = Array.from(facts.versions.values()).filter(
    (version) => !version.isMarker && !version.writer && hasId(version),
  );
  return strays.flatMap((version) => {
    const mayBe = Array.from(facts.writes.values()).filter(
      (write) =>
        !write.isDelete &&
        write.key === version.key &&
        write.end === version.bornAt &&
        write.result === "unknown" &&
        etagFits(write, version.etag),
    );
    return mayBe.length > 0 ? [] : [wrong("once", version, "it was listed, and nobody wrote it")];
  });
}

/** What was there, and whose removal was acknowledged, isn't there any more, and nobody meets it again at that end. */
export function checkRemoved(facts: Facts): Violation[] {
  return Array.from(facts.versions.values().filter(hasId)).flatMap((version) =>
    ENDS.flatMap((end) => {
      const since = facts.knownSince(version, end);
      const removals = facts.removals(version, end).filter(({ result, start }) => result === "ok" && start > since);
      const removed = Math.min(...removals.map(({ finish }) => finish));
      const again = facts.sightings.find((each) => each.end === end && isThat(each, version) && each.start > removed);
      return again ? [wrong("removed", version, "it was removed by its id, and came back", end)] : [];
    }),
  );
}

function isThat(sighting: Sighting, { key, versionId }: KnownVersion): boolean {
  return sighting.key === key && sighting.versionId === versionId;
}

/** Of two writes of a key at one end, of which one was answered before the other was sent, the later has the greater id. */
export function checkOrder(facts: Facts): Violation[] {
  const writes = written(facts);
  return writes.flatMap((later) => {
    const earlier = writes.find(
      (write) =>
        write.key === later.key &&
        write.end === later.end &&
        write.finish < later.start &&
        write.versionId! > later.versionId!,
    );
    if (!earlier) return [];
    const version = { key: later.key, versionId: later.versionId! };
    return [wrong("order", version, `${later.id} came after ${earlier.id}, whose id is greater`, later.end)];
  });
}

/** Tags after quiet are those of an edit that no acknowledged edit came after. */
export function checkTags(facts: Facts): Violation[] {
  const edits = facts.history.operations.filter((operation) => operation.kind === "tag" && mayHaveHappened(operation));
  return written(facts).flatMap((write) => {
    const { key, end, versionId } = write;
    const found = finalOf(facts.history, end, { key, versionId: versionId! });
    if (!found?.seen) return [];
    const own = edits.filter((edit) => edit.key === key && edit.versionId === versionId && edit.end === end);
    const first = { tag: write.operations[0]!.tag, start: write.start, finish: write.start, result: "ok" };
    const all = [first, ...own];
    const isLast = (edit: (typeof all)[number]) =>
      edit.result === "unknown" ||
      !all.some((each) => each.result === "ok" && each !== edit && each.start > edit.finish);
    const legal = all.filter(isLast).map(({ tag }) => tag);
    if (legal.includes(found.seen.tag)) return [];
    const message = `its tag is ${found.seen.tag}, and the last edits set ${legal.join(", ")}`;
    return [wrong("tags", { key, versionId: versionId! }, message, end)];
  });
}

/** Writes whose version is known. */
function written({ writes }: Facts): Write[] {
  return Array.from(writes.values().filter(hasId));
}

export function finalOf(history: History, end: End, version: { key: string; versionId: string }) {
  return history.finals[end].versions.find((each) => nameOf(each) === nameOf(version));
}

export function wrong(
  check: string,
  { key, versionId }: { key: string; versionId: string },
  message: string,
  end?: End,
): Violation {
  return { check, key, message: `${versionId}${end === undefined ? "" : ` at end ${end}`}: ${message}`, end };
}
