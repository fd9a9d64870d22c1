/** Conditions of a write, against the ETag of the current object; undefined where there is none. */
import type { Condition, Operation } from "./history.ts";

export function holds(condition: Condition | undefined, etag: string | undefined): boolean {
  if (!condition) return true;
  if ("ifNoneMatch" in condition) return etag === undefined;
  return condition.ifMatch === "*" ? etag !== undefined : etag === condition.ifMatch;
}

/** Whether it was refused for its condition, and for nothing else: a copy's source may be missing too. */
export function isRefusedCondition({ result, kind, code, condition }: Operation): boolean {
  if (result !== "refused" || !condition) return false;
  return code === "PreconditionFailed" || (code === "NoSuchKey" && kind !== "copy");
}

/** Whether it was rightly refused, and in the right words: If-Match is NoSuchKey where there is no object. */
export function refusalFits({ code, condition }: Operation, etag: string | undefined): boolean {
  if (code === "NoSuchKey") return etag === undefined;
  return !holds(condition, etag) && (!("ifMatch" in condition!) || etag !== undefined);
}
