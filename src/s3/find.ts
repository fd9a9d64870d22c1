/** The object that a request names: the current version, or the one by its id. */
import { S3Error } from "../errors.ts";
import { type Found, findObject } from "../store/objects.ts";
import { absentObject, type Version } from "../store/versions.ts";
import type { Context } from "./context.ts";
import { requestedVersionId } from "./versionid.ts";

/** Throws NoSuchKey, NoSuchVersion, MethodNotAllowed for a delete marker by its id, NoSuchBucket, InvalidArgument. */
export async function findExisting(ctx: Context): Promise<{ found: Found; version: Version }> {
  const versionId = requestedVersionId(ctx);
  const found = await findObject(ctx.env, ctx.entry, ctx.key, versionId);
  return { found, version: requireObject(found, ctx.key, versionId) };
}

/** The version that was found, if it is one with a body. Throws NoSuchKey, NoSuchVersion, MethodNotAllowed. */
export function requireObject({ version }: Found, key: string, versionId: string | undefined): Version {
  if (!version || version.isDeleteMarker) throw absentObject(key, versionId, version);
  return version;
}

/** What is answered to a copy whose source is named by the id of a delete marker. */
export function markerByVersionId(): S3Error {
  const message = "The source of a copy request may not specifically refer to a delete marker by version id.";
  return new S3Error("InvalidRequest", message);
}
