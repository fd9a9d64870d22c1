/** What must be true after quiet: nothing left to travel, statuses that say so, both ends alike, each in itself in order. */
import { type Facts, nameOf } from "./facts.ts";
import { type End, type FinalVersion, type Listed, NULL, type Operation, other, type Violation } from "./history.ts";
import { finalOf, wrong } from "./versions.ts";

const ENDS: End[] = [0, 1];
const EVERY = { key: "", versionId: "all" };

/** Which ends replicate to the other one. */
function sources({ history }: Facts): End[] {
  if (history.shape === "alone") return [];
  return history.shape === "two-way" ? [0, 1] : [0];
}

/** Nothing is PENDING, and FAILED only what the other end has removed by its id. */
export function checkSettled(facts: Facts): Violation[] {
  return ENDS.flatMap((end) => {
    const { pending, failed } = facts.history.finals[end];
    const stuck = pending > 0 ? [wrong("settled", EVERY, `${pending} versions are still to travel`, end)] : [];
    const wronged = Array.from(failed).flatMap(([name, reason]) => {
      const [key = "", versionId = ""] = name.split(" ");
      const isExcused = reason === "DstObjectHardDeleted" && facts.removals({ key, versionId }, other(end)).length > 0;
      return isExcused ? [] : [wrong("settled", { key, versionId }, `it is FAILED: ${reason}`, end)];
    });
    return [...stuck, ...wronged];
  });
}

/** x-amz-replication-status after quiet: COMPLETED, or FAILED for a reason that is excused, and REPLICA at the other end. */
export function checkStatuses(facts: Facts): Violation[] {
  return sources(facts).flatMap((source) =>
    ENDS.flatMap((end) =>
      facts.history.finals[end].versions.flatMap((version) => {
        const known = facts.versions.get(nameOf(version))!;
        if (version.isMarker || known.bornAt !== source || version.versionId === NULL) return [];
        const isFailed = facts.history.finals[source].failed.has(nameOf(version));
        const wanted = end === source ? (isFailed ? "FAILED" : "COMPLETED") : "REPLICA";
        const { status } = version.seen ?? {};
        return status === wanted ? [] : [wrong("statuses", version, `its status is ${status}, not ${wanted}`, end)];
      }),
    ),
  );
}

/** Each version of a source is at the other end too, the same in all that travels, unless that end removed it. */
export function checkEqual(facts: Facts): Violation[] {
  return sources(facts).flatMap((source) =>
    facts.history.finals[source].versions.flatMap((version) => {
      const known = facts.versions.get(nameOf(version))!;
      if (known.bornAt !== source && facts.history.shape !== "two-way") return [];
      const twin = finalOf(facts.history, other(source), version);
      if (!twin) {
        const isRemoved = facts.removals(version, other(source)).length > 0;
        return isRemoved ? [] : [wrong("equal", version, `it isn't at end ${other(source)}`, source)];
      }
      const [one, two] = [factsOf(version), factsOf(twin)];
      return one === two ? [] : [wrong("equal", version, `the ends differ: ${one} and ${two}`)];
    }),
  );
}

function factsOf({ isMarker, etag, seen }: FinalVersion): string {
  const { content, tag, writer } = seen ?? {};
  return JSON.stringify({ isMarker, etag, content, tag, writer });
}

/** In every listing the greatest version of a key is its latest, it alone, and keys and versions stand in order. */
export function checkListings(facts: Facts): Violation[] {
  const listings = facts.history.operations.filter(({ kind, listed }) => kind === "listVersions" && listed);
  const all = [
    ...listings.map(({ end, listed }) => ({ end, listed: listed! })),
    ...ENDS.map((end) => ({ end, listed: facts.history.finals[end].versions as Listed[] })),
  ];
  return [
    ...all.flatMap(({ end, listed }) => checkListing(end, listed)),
    ...facts.history.operations.flatMap((operation) => checkKeys(facts, operation)),
    ...ENDS.flatMap((end) => checkWalk(facts, end)),
    ...ENDS.flatMap((end) => checkObjects(facts, end)),
  ];
}

function checkListing(end: End, listed: Listed[]): Violation[] {
  return listed.flatMap((version, i) => {
    const previous = listed[i - 1];
    const isFirst = previous?.key !== version.key;
    const isInOrder = !previous || (isFirst ? previous.key < version.key : isOlder(version, previous));
    if (isInOrder && version.isLatest === isFirst) return [];
    const message = isInOrder ? `IsLatest is ${version.isLatest}` : "it is listed out of order";
    return [wrong("listings", { key: version.key, versionId: version.versionId! }, message, end)];
  });
}

/** A listing of current objects: keys that somebody wrote, in order, none twice. */
function checkKeys({ writes }: Facts, { kind, end, listed = [] }: Operation): Violation[] {
  if (kind !== "list") return [];
  const known = new Set(writes.values().map(({ key }) => key));
  return listed.flatMap(({ key }, i) => {
    if (known.has(key) && (i === 0 || listed[i - 1]!.key < key)) return [];
    const message = known.has(key) ? "it is listed out of order, or twice" : "it is listed, and nobody wrote it";
    return [wrong("listings", { key, versionId: "the object" }, message, end)];
  });
}

/** Page by page a bucket shows what it shows at once. */
function checkWalk({ history }: Facts, end: End): Violation[] {
  const { versions, objects, walked } = history.finals[end];
  const describe = (listed: Listed[]) =>
    listed.map(({ key, versionId, isLatest, etag }) => [key, versionId, isLatest && "latest", etag].join(" ")).join();
  const pairs = [
    ["versions", versions, walked.versions],
    ["objects", objects, walked.objects],
  ] as const;
  return pairs.flatMap(([what, whole, pages]) => {
    if (describe(whole) === describe(pages)) return [];
    return [wrong("listings", EVERY, `${what} are ${describe(whole)}, and page by page ${describe(pages)}`, end)];
  });
}

/** A null version shows no id to tell. */
function isOlder(version: Listed, previous: Listed): boolean {
  return version.versionId === NULL || previous.versionId === NULL || version.versionId! < previous.versionId!;
}

/** After quiet the current objects are the latest versions that are no delete markers. */
function checkObjects({ history }: Facts, end: End): Violation[] {
  const { objects, versions } = history.finals[end];
  const describe = (listed: Listed[]) => listed.map(({ key, etag }) => `${key} ${etag}`).join(", ");
  const latest = versions.filter(({ isLatest, isMarker }) => isLatest && !isMarker);
  if (describe(objects) === describe(latest)) return [];
  return [wrong("listings", EVERY, `objects are ${describe(objects)}, and latest versions ${describe(latest)}`, end)];
}

/** An upload that was completed or aborted isn't open any more, and one that was aborted isn't completed. */
export function checkUploads({ history }: Facts): Violation[] {
  const closed = history.operations.filter(
    ({ kind, result }) => (kind === "complete" || kind === "abort") && result === "ok",
  );
  const open = closed.flatMap(({ end, key, uploadId, id }) =>
    history.finals[end].uploads.includes(uploadId!)
      ? [wrong("uploads", { key, versionId: uploadId! }, `${id} closed it, and it is open still`, end)]
      : [],
  );
  const revived = closed.flatMap(({ kind, end, key, uploadId, id, start }) => {
    const isAborted = closed.some(
      (each) => each.kind === "abort" && each.uploadId === uploadId && each.finish < start && kind === "complete",
    );
    return isAborted
      ? [wrong("uploads", { key, versionId: uploadId! }, `${id} completed it after its abort`, end)]
      : [];
  });
  return [...open, ...revived];
}
