/** The parts of a multipart upload: put, copied from another object, listed. */
import { S3Error } from "../errors.ts";
import type { Body } from "../store/objects.ts";
import { getUpload, listParts, type Part, putPart, type Upload } from "../store/uploads.ts";
import { takeBody } from "./body.ts";
import { announcedChecksum, checksumHeader } from "./checksum.ts";
import { checkSourceConditions, parseCopyRange } from "./conditions.ts";
import type { Context } from "./context.ts";
import { checkSize, copiedBody } from "./copy.ts";
import { withChecksum } from "./hashing.ts";
import { uploadElements } from "./multipart.ts";
import { operation } from "./operation.ts";
import { readLimit, readNumber, readPartNumber } from "./page.ts";
import { openSource } from "./source.ts";
import { type Node, xml, xmlResponse } from "./xml.ts";

export const UploadPart = operation("PUT /:bucket/:key+?partNumber&uploadId", "put-object", async (ctx) => {
  const partNumber = readPartNumber(ctx.parameter("partNumber")!);
  const upload = await uploadOf(ctx);
  const part = await putPart(ctx.env, upload, partNumber, partBody(ctx, upload));
  const headers = new Headers({ etag: `"${part.etag}"`, "x-amz-server-side-encryption": "AES256" });
  if (upload.checksumAlgorithm && part.checksum) headers.set(checksumHeader(upload.checksumAlgorithm), part.checksum);
  return new Response(null, { headers });
});

export const UploadPartCopy = operation(
  "PUT /:bucket/:key+?partNumber&uploadId|x-amz-copy-source",
  "put-object",
  async (ctx) => {
    const partNumber = readPartNumber(ctx.parameter("partNumber")!);
    const upload = await uploadOf(ctx);
    const source = await openSource(ctx);
    checkSourceConditions(ctx.headers, source);
    const wanted = ctx.headers.get("x-amz-copy-source-range");
    const range = wanted === null ? undefined : parseCopyRange(wanted, source.size);
    checkSize(range?.length ?? source.size);
    const body = await copiedBody(source, range, upload.checksumAlgorithm ?? undefined);
    const part = await putPart(ctx.env, upload, partNumber, body);
    const headers = new Headers({ "x-amz-server-side-encryption": "AES256" });
    if (source.versionId !== undefined) headers.set("x-amz-copy-source-version-id", source.versionId);
    return xmlResponse(xml("CopyPartResult", [["ETag", `"${part.etag}"`], modified(part), checksum(upload, part)]), {
      headers,
    });
  },
);

export const ListParts = operation("GET /:bucket/:key+?uploadId", "list-parts", async (ctx) => {
  const upload = await uploadOf(ctx);
  const limit = readLimit(ctx, "max-parts", { least: 0, most: 1000 });
  const marker = readNumber("part-number-marker", ctx.parameter("part-number-marker") || "0");
  const found = limit === 0 ? [] : await listParts(ctx.env, upload, { after: marker, limit: limit + 1 });
  const parts = found.slice(0, limit);
  return xmlResponse(
    xml("ListPartsResult", [
      ["Bucket", ctx.bucket],
      ["Key", ctx.key],
      ["UploadId", upload.uploadId],
      ...uploadElements(ctx, upload),
      ["PartNumberMarker", marker],
      ["NextPartNumberMarker", parts.at(-1)?.partNumber ?? 0],
      ["MaxParts", limit],
      ["IsTruncated", found.length > limit],
      ...parts.map((part) => partElement(upload, part)),
    ]),
  );
});

/** Throws NoSuchUpload. */
async function uploadOf(ctx: Context): Promise<Upload> {
  return await getUpload(ctx.env, ctx.entry, ctx.key, ctx.parameter("uploadId")!);
}

/** The body of a part, with the checksum that its upload is made with: the client's own, else one calculated here. */
function partBody(ctx: Context, upload: Upload): Body {
  const announced = announcedChecksum(ctx.request.headers)?.algorithm;
  const wanted = upload.checksumAlgorithm;
  if (announced && wanted && announced !== wanted) {
    const message = `Checksum Type mismatch occurred, expected checksum Type: ${wanted.toLowerCase()}, actual checksum Type: ${announced.toLowerCase()}`;
    throw new S3Error("InvalidRequest", message);
  }
  const body = takeBody(ctx.request, ctx.payload);
  return wanted && !announced ? withChecksum(body, wanted) : body;
}

function partElement(upload: Upload, part: Part): Node {
  return [
    "Part",
    [
      ["PartNumber", part.partNumber],
      modified(part),
      ["ETag", `"${part.etag}"`],
      checksum(upload, part),
      ["Size", part.size],
    ],
  ];
}

function modified(part: Part): Node {
  return ["LastModified", new Date(part.uploadedAt).toISOString()];
}

function checksum({ checksumAlgorithm }: Upload, part: Part): Node | undefined {
  return checksumAlgorithm && part.checksum ? [`Checksum${checksumAlgorithm}`, part.checksum] : undefined;
}
