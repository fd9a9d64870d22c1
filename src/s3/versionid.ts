/** Version ids as clients send them: decimal digits, or `null` for the version that was written without versioning. */
import { invalidArgument } from "../errors.ts";

/** The version that a request names by `versionId`, undefined for the current one. Throws InvalidArgument. */
export function requestedVersionId(ctx: { parameter(name: string): string | undefined }): string | undefined {
  const versionId = ctx.parameter("versionId");
  return versionId === undefined ? undefined : checkVersionId(versionId, "versionId");
}

/** Throws InvalidArgument for what can be no version id. */
export function checkVersionId(versionId: string, parameter: string): string {
  if (versionId === "") throw invalidArgument(parameter, versionId, "Version id cannot be the empty string");
  if (versionId === "null" || /^[0-9]{1,19}$/.test(versionId)) return versionId;
  throw invalidArgument(parameter, versionId, "Invalid version id specified");
}
