/** Conditions of a write, against the ETag of the current object; undefined where there is none. */
import type { Condition, Operation } from "./history.ts";

export function holds(condition: Condition | undefined, etag: string | undefined): boolean {
  if (!condition) return true;
  if ("ifNoneMatch" in condition) return etag === undefined;
  return condition.ifMatch === "*" ? etag !== undefined : etag === condition.ifMatch;
}

/** Whether it was refused for its condition, and for nothing else: a copy's source may be missing too. */
export function isRefusedCondition(operation: Operation): boolean {
  const { result, kind, code } = operation;
  return result === "refused" && isOfCondition(operation) && !(kind === "copy" && code === "NoSuchKey");
}

/** Whether its code is one that a condition can be refused with. */
export function isOfCondition({ code, condition }: Operation): boolean {
  if (!condition) return false;
  return code === "PreconditionFailed" || (code === "NoSuchKey" && "ifMatch" in condition);
}

/** Whether it was rightly refused, and in the right words: If-Match is NoSuchKey where there is no object. */
export function refusalFits({ code, condition }: Operation, etag: string | undefined): boolean {
  if (code === "NoSuchKey") return etag === undefined;
  return !holds(condition, etag) && (!("ifMatch" in condition!) || etag !== undefined);
}
