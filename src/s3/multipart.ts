/**
 * Multipart uploads: create, complete, abort, and which are open.
 *
 * An upload's checksum algorithm and type are fixed when it is created: CRC64NVME is always of the full object, SHA-1
 * and SHA-256 are always composite, the other CRCs are what the client says
 * (https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html).
 */
import { invalidArgument, S3Error } from "../errors.ts";
import type { ListPage } from "../store/listing.ts";
import {
  abortUpload,
  completeUpload,
  createUpload,
  getUpload,
  listUploads,
  type NamedPart,
  type Part,
  type Upload,
} from "../store/uploads.ts";
import type { Checksum, ChecksumAlgorithm } from "../store/versions.ts";
import { checkAclHeaders } from "./acl.ts";
import { checksumHeader, checksumMismatch, compositeChecksum, fullObjectChecksum } from "./checksum.ts";
import { unquote, writeConditions } from "./conditions.ts";
import type { Context } from "./context.ts";
import { checksumElements, requestedAlgorithm } from "./copy.ts";
import { readXml } from "./document.ts";
import { describe, writtenHeaders } from "./headers.ts";
import { operation } from "./operation.ts";
import { commonPrefixes, entriesOf, readEncoding, readLimit, readPartNumber } from "./page.ts";
import { owner } from "./service.ts";
import { malformed, type Node, type XmlElement, xml, xmlResponse } from "./xml.ts";

/** Ten thousand parts with their ETags and checksums. */
const MAX_DOCUMENT_BYTES = 4 * 1024 * 1024;
const MAX_PARTS = 10_000;

/** What each algorithm can be; the first is what it is if the client doesn't say. */
const CHECKSUM_TYPES: Record<ChecksumAlgorithm, Checksum["type"][]> = {
  CRC32: ["COMPOSITE", "FULL_OBJECT"],
  CRC32C: ["COMPOSITE", "FULL_OBJECT"],
  CRC64NVME: ["FULL_OBJECT"],
  SHA1: ["COMPOSITE"],
  SHA256: ["COMPOSITE"],
};

export const CreateMultipartUpload = operation("POST /:bucket/:key+?uploads", "put-object", async (ctx) => {
  checkAclHeaders(ctx);
  const upload = await createUpload(ctx.env, ctx.entry, ctx.key, {
    ...describe(ctx.headers),
    ...readChecksumPlan(ctx),
  });
  const headers = new Headers({ "x-amz-server-side-encryption": "AES256" });
  if (upload.checksumAlgorithm) {
    headers.set("x-amz-checksum-algorithm", upload.checksumAlgorithm);
    headers.set("x-amz-checksum-type", upload.checksumType!);
  }
  const result: Node[] = [
    ["Bucket", ctx.bucket],
    ["Key", ctx.key],
    ["UploadId", upload.uploadId],
  ];
  return xmlResponse(xml("InitiateMultipartUploadResult", result), { headers });
});

/** As the client wrote it; a URL object would refuse odd hosts, after the commit. */
function originOf({ request }: Context): string {
  const [scheme] = request.url.split("://");
  return `${scheme}://${request.headers.get("host") ?? ""}`;
}

export const CompleteMultipartUpload = operation("POST /:bucket/:key+?uploadId", "put-object", async (ctx) => {
  const parts = readParts(await readXml(ctx, "CompleteMultipartUpload", MAX_DOCUMENT_BYTES));
  const written = await completeUpload(ctx.env, ctx.entry, ctx.key, ctx.parameter("uploadId")!, parts, {
    conditions: writeConditions(ctx.headers),
    summarize: (upload, parts) => summarize(ctx.headers, upload, parts),
  });
  const { etag, checksum } = written.version;
  return xmlResponse(
    xml("CompleteMultipartUploadResult", [
      ["Location", originOf(ctx) + ctx.target.rawPath],
      ["Bucket", ctx.bucket],
      ["Key", ctx.key],
      ["ETag", `"${etag}"`],
      ...checksumElements(checksum),
    ]),
    { headers: Object.fromEntries(writtenHeaders(written)) },
  );
});

export const AbortMultipartUpload = operation(
  "DELETE /:bucket/:key+?uploadId",
  "abort-multipart-upload",
  async (ctx) => {
    await abortUpload(ctx.env, await getUpload(ctx.env, ctx.entry, ctx.key, ctx.parameter("uploadId")!));
    return new Response(null, { status: 204 });
  },
);

export const ListMultipartUploads = operation("GET /:bucket?uploads", "list-multipart-uploads", async (ctx) => {
  const { encodingType, encode } = readEncoding(ctx);
  const limit = readLimit(ctx, "max-uploads", { least: 0, most: 1000 });
  const [prefix, delimiter] = [ctx.parameter("prefix") ?? "", ctx.parameter("delimiter") ?? ""];
  const keyMarker = ctx.parameter("key-marker") || undefined;
  const uploadIdMarker = (keyMarker && ctx.parameter("upload-id-marker")) || undefined;
  const query = { prefix, delimiter, after: keyMarker, uploadIdMarker, limit };
  const page = limit === 0 ? NO_UPLOADS : await listUploads(ctx.env, ctx.entry.bucketId, query);
  return xmlResponse(
    xml("ListMultipartUploadsResult", [
      ["Bucket", ctx.bucket],
      ["KeyMarker", encode(keyMarker ?? "")],
      ["UploadIdMarker", uploadIdMarker ?? ""],
      ["NextKeyMarker", page.next === undefined ? undefined : encode(page.next)],
      ["NextUploadIdMarker", page.nextUploadIdMarker],
      ["Prefix", encode(prefix)],
      ["Delimiter", delimiter === "" ? undefined : encode(delimiter)],
      ["EncodingType", encodingType],
      ["MaxUploads", limit],
      ["IsTruncated", page.next !== undefined],
      ...entriesOf(page).map((upload) => uploadElement(ctx, upload, encode)),
      ...commonPrefixes(page, encode),
    ]),
  );
});

const NO_UPLOADS: ListPage<never> & { nextUploadIdMarker?: string } = { entries: [] };

function uploadElement(ctx: Context, upload: Upload, encode: (key: string) => string): Node {
  return [
    "Upload",
    [
      ["Key", encode(upload.key)],
      ["UploadId", upload.uploadId],
      ["Initiated", new Date(upload.initiatedAt).toISOString()],
      ...uploadElements(ctx, upload),
    ],
  ];
}

/** What both listings say of an upload. */
export function uploadElements(ctx: Context, upload: Upload): Node[] {
  return [
    owner(ctx, "Initiator"),
    owner(ctx),
    ["StorageClass", upload.headers["x-amz-storage-class"] ?? "STANDARD"],
    ["ChecksumAlgorithm", upload.checksumAlgorithm ?? undefined],
    ["ChecksumType", upload.checksumType ?? undefined],
  ];
}

function readChecksumPlan(ctx: Context): Pick<Upload, "checksumAlgorithm" | "checksumType"> {
  const algorithm = requestedAlgorithm(ctx);
  const type = ctx.headers.get("x-amz-checksum-type");
  if (!algorithm) {
    if (type === null) return { checksumAlgorithm: null, checksumType: null };
    const message = "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.";
    throw new S3Error("InvalidRequest", message);
  }
  const [usual] = CHECKSUM_TYPES[algorithm];
  const checksumType = CHECKSUM_TYPES[algorithm].find((possible) => possible === (type ?? usual));
  if (checksumType) return { checksumAlgorithm: algorithm, checksumType };
  throw new S3Error(
    "InvalidRequest",
    `The ${type} checksum type cannot be used with the ${algorithm} checksum algorithm.`,
  );
}

/** The parts that a Complete names, in its order. Throws MalformedXML, InvalidArgument. */
function readParts(root: XmlElement): NamedPart[] {
  const parts = root.allow("Part").all("Part");
  if (parts.length === 0 || parts.length > MAX_PARTS) throw malformed();
  return parts.map((part) => {
    const [number, etag] = [part.textOf("PartNumber"), part.textOf("ETag")];
    if (number === undefined || etag === undefined) throw malformed();
    const checksum = part.children.find(({ name }) => name.startsWith("Checksum"))?.text;
    return {
      partNumber: readPartNumber(number.trim()),
      etag: unquote(etag),
      ...(checksum !== undefined && { checksum }),
    };
  });
}

/** The checksum of the whole, from those of its parts. Throws BadDigest, InvalidRequest where the client says otherwise. */
function summarize(headers: Headers, upload: Upload, parts: Part[]): Checksum | null {
  checkObjectSize(headers, parts);
  const { checksumAlgorithm: algorithm, checksumType: type } = upload;
  const wantedType = headers.get("x-amz-checksum-type");
  if (wantedType !== null && wantedType !== type) {
    throw new S3Error(
      "InvalidRequest",
      `The upload was created using the ${type} checksum mode. The complete request must use the same checksum mode.`,
    );
  }
  const values = parts.map(({ checksum }) => checksum);
  if (!algorithm || !type || values.some((value) => value === null)) return null;
  const value = wholeChecksum(algorithm, type, parts);
  const expected = headers.get(checksumHeader(algorithm));
  if (expected !== null && digestOf(expected) !== digestOf(value)) throw checksumMismatch(algorithm);
  return { algorithm, type, value };
}

/** Without the number of parts, which clients leave out or not. */
function digestOf(checksum: string): string {
  return checksum.replace(/-\d+$/, "");
}

function wholeChecksum(algorithm: ChecksumAlgorithm, type: Checksum["type"], parts: Part[]): string {
  const values = parts.map(({ checksum, size }) => ({ value: checksum!, size }));
  if (type === "COMPOSITE")
    return compositeChecksum(
      algorithm,
      values.map(({ value }) => value),
    );
  return fullObjectChecksum(algorithm as "CRC32" | "CRC32C" | "CRC64NVME", values);
}

function checkObjectSize(headers: Headers, parts: Part[]): void {
  const expected = headers.get("x-amz-mp-object-size");
  const size = parts.reduce((sum, part) => sum + part.size, 0);
  if (expected === null || expected === String(size)) return;
  if (!/^[0-9]+$/.test(expected)) throw invalidArgument("x-amz-mp-object-size", expected, "Value is not a number");
  const message = `The provided 'x-amz-mp-object-size' header value ${expected} does not match what was computed: ${size}`;
  throw new S3Error("InvalidRequest", message);
}
