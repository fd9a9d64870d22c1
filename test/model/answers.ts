/**
 * What may be answered at all: a refusal says in S3's words what the history bears out, and nothing stays without an
 * answer where no fault struck. Without it a zone that refuses everything would hold every other promise.
 */
import { isOfCondition } from "./conditions.ts";
import { type Facts, nameOf } from "./facts.ts";
import { type Kind, mayHaveHappened, NULL, type Operation, say, type Violation } from "./history.ts";

/** Codes of what may have been done or not; also of one key of DeleteObjects, whose answer as a whole is 200. */
const UNCERTAIN = ["InternalError", "ServiceUnavailable", "SlowDown", "OperationAborted", "RequestTimeout"];

/** Codes of reads that found nothing, or a delete marker. HEAD shows none. */
const MISSING: Partial<Record<Kind, string[]>> = {
  get: ["NoSuchKey"],
  getVersion: ["NoSuchVersion", "MethodNotAllowed"],
};

export function checkAnswers(facts: Facts): Violation[] {
  return facts.history.operations.flatMap((operation) => {
    const flaw = flawOf(facts, operation);
    const { key, end } = operation;
    return flaw ? [{ check: "answers", key, end, message: `at end ${end}: ${say(operation)}: ${flaw}` }] : [];
  });
}

function flawOf(facts: Facts, operation: Operation): string | undefined {
  const { result } = operation;
  if (result === "refused") return flawOfRefusal(facts, operation);
  return result === "unknown" ? flawOfUnknown(facts, operation) : flawOfMissing(operation);
}

function flawOfMissing({ kind, status, code }: Operation): string | undefined {
  if (status === undefined || status < 300 || kind === "head") return undefined;
  return MISSING[kind]?.includes(code ?? "") ? undefined : `it was answered ${status}`;
}

/** Two changes of one bucket's versioning at once: one is sent away, which is no fault. */
function flawOfUnknown({ history }: Facts, { kind, status = 0, code }: Operation): string | undefined {
  if (status >= 200 && status < 500 && !UNCERTAIN.includes(code ?? "")) return `${code} says nothing`;
  if (history.struck > 0 || (kind === "versioning" && code === "OperationAborted")) return undefined;
  return `it has no answer (${status}), and nothing struck`;
}

function flawOfRefusal(facts: Facts, operation: Operation): string | undefined {
  const { kind, code = "no code", status } = operation;
  if (isOfCondition(operation)) return undefined;
  const unfounded = `it was refused (${status} ${code}), and nothing in the history says why`;
  if (kind === "complete" || kind === "abort") {
    return code === "NoSuchUpload" && mayBeClosed(facts, operation) ? undefined : unfounded;
  }
  const isMissing = code === "NoSuchKey" || code === "NoSuchVersion";
  if (kind === "copy") return isMissing && mayBeGone(facts, operation, operation.source) ? undefined : unfounded;
  if (kind !== "tag") return unfounded;
  return isMissing && mayBeGone(facts, operation, operation) ? undefined : unfounded;
}

/** Somebody else closed the upload before, or may have. */
function mayBeClosed({ history }: Facts, operation: Operation): boolean {
  return history.operations.some(
    (each) =>
      each !== operation &&
      (each.kind === "complete" || each.kind === "abort") &&
      each.uploadId === operation.uploadId &&
      mayHaveHappened(each) &&
      each.start < operation.finish,
  );
}

/** Whether the version that it names may not be there: it was removed, or isn't known to have come. */
function mayBeGone(facts: Facts, operation: Operation, named: Operation["source"]): boolean {
  const { end, key, versionId } = named ?? {};
  if (end === undefined || key === undefined || versionId === undefined || versionId === NULL) return true;
  const version = facts.versions.get(nameOf({ key, versionId }));
  if (!version || facts.knownSince(version, end) >= operation.start) return true;
  return facts.removals(version, end).some(({ start }) => start < operation.finish);
}
