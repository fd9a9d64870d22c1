/**
 * Tags of an object that is there: read, put, removed. A change is no new version, keeps the object's Last-Modified, and
 * travels to where the version went, so it is PENDING again; one on a replica stays there.
 */
import { putTags } from "../store/objects.ts";
import { shownVersionId, type Version } from "../store/versions.ts";
import type { Context } from "./context.ts";
import { readXml } from "./document.ts";
import { findExisting } from "./find.ts";
import { operation } from "./operation.ts";
import { readTagging, type Tags, writeTagging } from "./tags.ts";
import { requestedVersionId } from "./versionid.ts";
import { xmlResponse } from "./xml.ts";

export const GetObjectTagging = operation("GET /:bucket/:key+?tagging", "get-object-tagging", async (ctx) => {
  const { found, version } = await findExisting(ctx);
  return xmlResponse(writeTagging(version.tags), {
    headers: versionHeaders(version, found.versioning !== "Unversioned"),
  });
});

export const PutObjectTagging = operation("PUT /:bucket/:key+?tagging", "put-object-tagging", async (ctx) => {
  const headers = await replaceTags(ctx, readTagging(await readXml(ctx, "Tagging")));
  return new Response(null, { headers });
});

export const DeleteObjectTagging = operation("DELETE /:bucket/:key+?tagging", "delete-object-tagging", async (ctx) => {
  return new Response(null, { status: 204, headers: await replaceTags(ctx, {}) });
});

async function replaceTags(ctx: Context, tags: Tags): Promise<Record<string, string>> {
  const versionId = requestedVersionId(ctx);
  const { version, isVersioned } = await putTags(ctx.env, ctx.entry, { key: ctx.key, versionId, tags });
  return versionHeaders(version, isVersioned);
}

function versionHeaders(version: Version, isVersioned: boolean): Record<string, string> {
  return isVersioned ? { "x-amz-version-id": shownVersionId(version) } : {};
}
