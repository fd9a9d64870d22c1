/**
 * What a history says about versions, gathered: which write made which version, who may have removed it, who saw it.
 *
 * A version's writer is known from the id that a write was answered, or from the metadata of a version that was read.
 * Of delete markers whose answer was lost only the zone is known, by the last bits of their id.
 */
import { bornAt, type End, type History, isWrite, mayHaveHappened, type Operation, type Seen } from "./history.ts";

/** A write, or a DELETE without a version id. A Complete that was repeated is one write. */
export interface Write {
  id: string;
  end: End;
  key: string;
  isDelete: boolean;
  operations: Operation[];
  result: Operation["result"];
  start: number;
  /** of the first answer that said it was done; infinite while none did */
  finish: number;
  /** as it was answered, or as it was met */
  versionId?: string;
}

/** A version that somebody met. */
export interface KnownVersion {
  key: string;
  versionId: string;
  isMarker: boolean;
  etag?: string;
  bornAt?: End;
  writer?: Write;
}

export interface Sighting {
  end: End;
  key: string;
  versionId: string;
  isMarker: boolean;
  etag?: string;
  writer?: string;
  start: number;
  finish: number;
}

export class Facts {
  readonly history: History;
  readonly writes: Map<string, Write>;
  readonly sightings: Sighting[];
  /** by `nameOf` */
  readonly versions = new Map<string, KnownVersion>();
  readonly #removals: Map<string, Operation[]>;

  constructor(history: History) {
    this.history = history;
    this.writes = gatherWrites(history);
    this.sightings = gatherSightings(history);
    this.#removals = Map.groupBy(
      history.operations.filter((operation) => operation.kind === "remove" && mayHaveHappened(operation)),
      ({ key, versionId }) => nameOf({ key, versionId: versionId! }),
    );
    for (const write of this.writes.values()) if (write.versionId) this.#learnWrite(write, write.versionId);
    for (const sighting of this.sightings) this.#learnSighting(sighting);
  }

  /** Removals by id that were done or may have been. */
  removals(version: { key: string; versionId: string }, end?: End): Operation[] {
    const all = this.#removals.get(nameOf(version)) ?? [];
    return end === undefined ? all : all.filter((operation) => operation.end === end);
  }

  /** When it was surely there at an end: the earliest moment at which that was known. Infinite if it never was. */
  knownSince(version: KnownVersion, end: End): number {
    const own = version.writer?.end === end ? version.writer.finish : Number.POSITIVE_INFINITY;
    const seen = this.sightings
      .filter((each) => each.end === end && each.key === version.key && each.versionId === version.versionId)
      .map(({ finish }) => finish);
    return Math.min(own, ...seen);
  }

  #learnWrite(write: Write, versionId: string): void {
    const { key, isDelete } = write;
    const etag = write.operations.find((operation) => operation.etag)?.etag;
    const born = bornAt(this.history, versionId);
    this.versions.set(nameOf({ key, versionId }), {
      key,
      versionId,
      isMarker: isDelete,
      etag,
      bornAt: born,
      writer: write,
    });
  }

  #learnSighting({ key, versionId, isMarker, etag, writer }: Sighting): void {
    const name = nameOf({ key, versionId });
    const write = writer === undefined ? undefined : this.writes.get(writer);
    const known = this.versions.get(name);
    if (known) {
      known.etag ??= etag;
      known.writer ??= write;
    } else {
      this.versions.set(name, {
        key,
        versionId,
        isMarker,
        etag,
        bornAt: bornAt(this.history, versionId),
        writer: write,
      });
    }
    if (write && !write.versionId) write.versionId = versionId;
  }
}

export function nameOf({ key, versionId }: { key: string; versionId: string }): string {
  return `${key} ${versionId}`;
}

function gatherWrites({ operations }: History): Map<string, Write> {
  const all = operations.filter((operation) => isWrite(operation) || operation.kind === "delete");
  const byId = Map.groupBy(all, ({ id }) => id);
  return new Map(Array.from(byId, ([id, same]) => [id, writeOf(id, same)]));
}

function writeOf(id: string, operations: Operation[]): Write {
  const done = operations.filter(({ result }) => result === "ok");
  const isRefused = operations.every(({ result }) => result === "refused");
  const { end, key, kind } = operations[0]!;
  return {
    id,
    end,
    key,
    isDelete: kind === "delete",
    operations,
    result: done.length > 0 ? "ok" : isRefused ? "refused" : "unknown",
    start: Math.min(...operations.map(({ start }) => start)),
    finish: Math.min(...done.map(({ finish }) => finish)),
    versionId: done[0]?.versionId,
  };
}

function gatherSightings({ operations, finals }: History): Sighting[] {
  const seen = operations.flatMap((operation) => [...seenBy(operation), ...listedBy(operation)]);
  const atLast = finals.flatMap((final, end) =>
    final.versions.map((version): Sighting => {
      const moment = { start: Number.POSITIVE_INFINITY, finish: Number.POSITIVE_INFINITY };
      return { ...version, end: end as End, writer: version.seen?.writer, ...moment };
    }),
  );
  return [...seen, ...atLast];
}

function seenBy({ end, key, seen, start, finish }: Operation): Sighting[] {
  if (!seen?.versionId) return [];
  const { versionId, isMarker = false, etag, writer } = seen;
  return [{ end, key, versionId, isMarker, etag, writer, start, finish }];
}

function listedBy({ end, listed = [], start, finish }: Operation): Sighting[] {
  return listed.flatMap(({ key, versionId, isMarker, etag }) =>
    versionId === undefined ? [] : [{ end, key, versionId, isMarker, etag, start, finish }],
  );
}

/** Whether what was read is what the write wrote, as far as both are known. */
export function isOf(write: Write, seen: Pick<Seen, "content" | "etag">): boolean {
  const { content, etag } = write.operations.find((operation) => operation.result === "ok") ?? write.operations[0]!;
  if (content !== undefined && seen.content !== undefined && content !== seen.content) return false;
  if (etag !== undefined && seen.etag !== undefined) return etag === seen.etag;
  return write.isDelete || etagFits(write, seen.etag);
}

/** Whether an ETag can be that of a write's version, where the answer was lost. */
export function etagFits(write: Write, etag: string | undefined): boolean {
  const { expectedEtag } = write.operations[0]!;
  return expectedEtag === undefined || etag === undefined || etag === expectedEtag;
}
