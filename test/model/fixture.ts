/** Histories made by hand, for the tests of the checks: a few words an operation, moments by their order. */
import { createHash } from "node:crypto";
import { check } from "./check.ts";
import type { End, Final, FinalVersion, History, Operation, Shape } from "./history.ts";

/** An id that a zone gave: the n-th of all, by the zone of an end. */
export function idOf(n: number, end: End = 0): string {
  return ((BigInt(n) << 6n) | BigInt(end + 1)).toString().padStart(19, "0");
}

export function contentOf(writer: string): string {
  return createHash("md5").update(writer).digest("hex");
}

/** What a test says of an operation; each takes its place in time after the one before, unless it says when. */
export type Said = Partial<Operation> & Pick<Operation, "kind">;

const DEFAULTS = { key: "k", end: 0 as End, result: "ok" as const };

export function historyOf(said: Said[], finals: [FinalVersion[], FinalVersion[]], shape: Shape = "two-way"): History {
  const operations = said.map((each, i): Operation => {
    const id = each.id ?? `${i}`;
    const isBody = each.kind === "put" || each.kind === "complete";
    const content = isBody ? contentOf(id) : undefined;
    const etag = isBody && (each.result ?? "ok") === "ok" ? content : undefined;
    const moments = { start: i * 10, finish: i * 10 + 5 };
    return { ...DEFAULTS, ...moments, id, content, expectedEtag: content, etag, ...each };
  });
  return {
    seed: "made by hand",
    shape,
    zoneNumbers: [1, 2],
    operations,
    struck: 1,
    finals: [finalOf(finals[0]), finalOf(finals[1])],
  };
}

function finalOf(versions: FinalVersion[]): Final {
  const objects = versions.filter(({ isLatest, isMarker }) => isLatest && !isMarker);
  return { versions, objects, walked: { versions, objects }, uploads: [], pending: 0, failed: new Map() };
}

/** A version of key `k` after quiet as it should be: written by `writer`, at the end where it was born or the other. */
export function stands(
  writer: string,
  versionId: string,
  end: End = 0,
  more: Partial<FinalVersion> = {},
): FinalVersion {
  const content = contentOf(writer);
  const isBornHere = Number(BigInt(versionId) & 63n) === end + 1;
  const seen = {
    versionId,
    isMarker: false,
    etag: content,
    content,
    writer,
    status: isBornHere ? "COMPLETED" : "REPLICA",
  };
  return { key: "k", versionId, isMarker: false, isLatest: true, etag: content, seen, ...more };
}

export function marker(versionId: string, more: Partial<FinalVersion> = {}): FinalVersion {
  return { key: "k", versionId, isMarker: true, isLatest: true, ...more };
}

/** The same versions at both ends. */
export function both(make: (end: End) => FinalVersion[]): [FinalVersion[], FinalVersion[]] {
  return [make(0), make(1)];
}

export const V1 = idOf(1000);
export const V2 = idOf(2000);
export const V3 = idOf(3000);
export const older = { isLatest: false };
export const put = (id: string, more: Partial<Said> = {}): Said => ({ kind: "put", id, ...more });
export const found = (writer: string, versionId: string) => {
  return { versionId, isMarker: false, writer, content: contentOf(writer), etag: contentOf(writer) };
};
export const one = both((end) => [stands("a", V1, end)]);
export const two = both((end) => [stands("b", V2, end), stands("a", V1, end, older)]);
export const none: [FinalVersion[], FinalVersion[]] = [[], []];

/** Names of the checks that find something. */
export function broken(history: History): string[] {
  return [...new Set(check(history).violations.map((violation) => violation.check))].sort();
}
