/**
 * DeleteObject and DeleteObjects. The latter authorises key by key, and its answer is 200 whatever comes of each key:
 * one result for each entry of the request, in its order.
 */
import { isS3Error, S3Error } from "../errors.ts";
import { type Deleted, type Deletion, deleteObject, deleteObjects } from "../store/objects.ts";
import { unquote, writeConditions } from "./conditions.ts";
import type { Context } from "./context.ts";
import { readXml } from "./document.ts";
import { operation } from "./operation.ts";
import { checkKey } from "./target.ts";
import { checkVersionId, requestedVersionId } from "./versionid.ts";
import { malformed, type Node, type XmlElement, xml, xmlResponse } from "./xml.ts";

/** Entries of one request: https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html */
const MAX_DELETIONS = 1000;
/** A thousand keys of 1,024 bytes, each byte of them an entity, are 6 MB. */
const MAX_DOCUMENT_BYTES = 8 * 1024 * 1024;

export const DeleteObject = operation("DELETE /:bucket/:key+", "delete-object", async (ctx) => {
  const versionId = requestedVersionId(ctx);
  const conditions = writeConditions(ctx.headers);
  const deleted = await deleteObject(ctx.env, ctx.entry, { key: ctx.key, versionId, conditions });
  const headers = new Headers();
  if (deleted.versionId !== undefined) headers.set("x-amz-version-id", deleted.versionId);
  if (deleted.isDeleteMarker) headers.set("x-amz-delete-marker", "true");
  return new Response(null, { status: 204, headers });
});

export const DeleteObjects = operation(
  "POST /:bucket?delete",
  "delete-object",
  async (ctx) => {
    const root = (await readXml(ctx, "Delete", MAX_DOCUMENT_BYTES)).allow("Object", "Quiet");
    const objects = root.all("Object");
    if (objects.length === 0 || objects.length > MAX_DELETIONS) throw malformed();
    const wanted = objects.map(readDeletion);
    const results = await deleteAllowed(ctx, wanted);
    const isQuiet = root.textOf("Quiet") === "true";
    const elements = wanted.map(({ key, versionId }, i) => resultElement({ key, versionId }, results[i]!));
    return xmlResponse(xml("DeleteResult", isQuiet ? elements.filter(([name]) => name === "Error") : elements));
  },
  { authorizes: "in handler" },
);

/** An entry of the request; `refusal`: why it can't be done, whoever asks. */
interface Wanted extends Deletion {
  refusal?: S3Error;
}

/** Keys judged before others have their turn. */
const YIELD_EVERY = 25;

/** Deletes what the caller may delete, and puts the reason in the place of the rest. */
async function deleteAllowed(ctx: Context, wanted: Wanted[]): Promise<(Deleted | S3Error)[]> {
  const refusals: (S3Error | undefined)[] = [];
  for (const [i, deletion] of wanted.entries()) {
    refusals.push(deletion.refusal ?? denial(ctx, deletion));
    // A costly policy takes a millisecond a key, and others wait for this isolate meanwhile.
    if (i % YIELD_EVERY === YIELD_EVERY - 1) await scheduler.wait(0);
  }
  const allowed = wanted.filter((_, i) => !refusals[i]);
  const results = allowed.length > 0 ? await deleteObjects(ctx.env, ctx.entry, allowed) : [];
  return refusals.map((refusal) => refusal ?? results.shift()!);
}

function denial(ctx: Context, { key, versionId }: Deletion): S3Error | undefined {
  const parameters = { bucket: ctx.bucket, key, ...(versionId !== undefined && { version_id: versionId }) };
  return ctx.isAllowed("delete-object", parameters) ? undefined : new S3Error("AccessDenied");
}

function readDeletion(element: XmlElement): Wanted {
  element.allow("Key", "VersionId", "ETag", "LastModifiedTime", "Size");
  if (element.get("LastModifiedTime") || element.get("Size")) {
    throw new S3Error("NotImplemented", "Conditions on LastModifiedTime and Size are not implemented.");
  }
  const key = element.textOf("Key");
  if (!key) throw malformed();
  const etag = element.textOf("ETag");
  const deletion: Wanted = {
    key,
    versionId: element.textOf("VersionId") || undefined,
    conditions: etag === undefined ? undefined : { ifMatch: etag === "*" ? "*" : [unquote(etag)] },
  };
  return { ...deletion, refusal: refusalOf(deletion) };
}

/** What is wrong with one key is that key's result, not the request's. */
function refusalOf({ key, versionId }: Deletion): S3Error | undefined {
  try {
    checkKey(key);
    if (versionId !== undefined) checkVersionId(versionId, "VersionId");
    return undefined;
  } catch (error) {
    if (error instanceof S3Error) return error;
    throw error;
  }
}

function resultElement({ key, versionId }: Deletion, result: Deleted | S3Error): Node {
  const identity: Node[] = [
    ["Key", key],
    ["VersionId", versionId],
  ];
  if (isS3Error(result)) return ["Error", [...identity, ["Code", result.code], ["Message", result.message]]];
  if (!result.isDeleteMarker) return ["Deleted", identity];
  return ["Deleted", [...identity, ["DeleteMarker", true], ["DeleteMarkerVersionId", result.versionId]]];
}
