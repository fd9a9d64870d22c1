/**
 * Operations on an object: put, get, head.
 *
 * What surprised us: workerd compresses a body to fit a Content-Encoding header unless told that it is encoded
 * already; and it keeps Content-Length only for bodies whose length it knows itself, so streams come from R2 or a
 * FixedLengthStream.
 */
import { invalidArgument, S3Error } from "../errors.ts";
import { type Found, putObject } from "../store/objects.ts";
import { lastModified, type Version } from "../store/versions.ts";
import { checkAclHeaders } from "./acl.ts";
import { takeBody } from "./body.ts";
import { type ByteRange, evaluateConditions, parseRange, writeConditions } from "./conditions.ts";
import type { Context } from "./context.ts";
import { findExisting } from "./find.ts";
import {
  type AnswerHeaders,
  describe,
  describeVersion,
  identifyVersion,
  writeChecksum,
  writtenHeaders,
} from "./headers.ts";
import { operation } from "./operation.ts";
import { readPartNumber } from "./page.ts";

export const PutObject = operation("PUT /:bucket/:key+", "put-object", async (ctx) => {
  checkAclHeaders(ctx);
  const partNumber = ctx.parameter("partNumber");
  if (partNumber !== undefined) throw invalidArgument("partNumber", partNumber, "A part needs an uploadId");
  const description = describe(ctx.headers);
  const body = takeBody(ctx.request, ctx.payload);
  const written = await putObject(ctx.env, ctx.entry, ctx.key, description, body, writeConditions(ctx.headers));
  const headers = writtenHeaders(written);
  headers.set("etag", `"${written.version.etag}"`);
  writeChecksum(headers, written.version.checksum);
  return new Response(null, { headers: Object.fromEntries(headers) });
});

export const GetObject = operation("GET /:bucket/:key+", "get-object", (ctx) => read(ctx));

export const HeadObject = operation("HEAD /:bucket/:key+", ["head-object", "get-object"], (ctx) => read(ctx));

/** GetObject, and HeadObject, which is the same without the body. */
async function read(ctx: Context): Promise<Response> {
  const overrides = responseOverrides(ctx);
  const { found, version } = await findExisting(ctx);
  const validators = { etag: version.etag, lastModified: lastModified(version) };
  const headers: AnswerHeaders = new Map();
  if (evaluateConditions(ctx.headers, validators) === "notModified") return notModified(headers, found, version);
  describeVersion(headers, found, version);
  for (const [name, value] of overrides) headers.set(name, value);
  const range = await requestedRange(ctx, found, version);
  if (range && range.length > 0)
    headers.set("content-range", `bytes ${range.offset}-${range.offset + range.length - 1}/${version.size}`);
  if (ctx.parameter("partNumber") !== undefined && isMultipart(version)) {
    headers.set("x-amz-mp-parts-count", String(found.partCount()));
  }
  // Of a piece, the checksum of the whole would only be taken for the piece's own.
  const isWhole = !range || range.length === version.size;
  if (isWhole && ctx.headers.get("x-amz-checksum-mode") === "ENABLED") writeChecksum(headers, version.checksum);
  headers.set("content-length", String(range?.length ?? version.size));
  const body = ctx.method === "HEAD" ? null : await found.read(range);
  const status = range && range.length > 0 ? 206 : 200;
  return new Response(body, { status, headers: Object.fromEntries(headers), encodeBody: "manual" });
}

function notModified(headers: AnswerHeaders, found: Found, version: Version): Response {
  identifyVersion(headers, version, found.versioning !== "Unversioned");
  for (const name of ["cache-control", "expires"]) {
    if (version.headers[name]) headers.set(name, version.headers[name]);
  }
  return new Response(null, { status: 304, headers: Object.fromEntries(headers) });
}

/** The piece that Range or partNumber asks for; undefined: the whole. Throws InvalidRange, InvalidPartNumber. */
async function requestedRange(ctx: Context, found: Found, version: Version): Promise<ByteRange | undefined> {
  const partNumber = ctx.parameter("partNumber");
  if (partNumber === undefined) {
    return parseRange(ctx.headers, version.size, { etag: version.etag, lastModified: lastModified(version) });
  }
  if (ctx.headers.has("range")) {
    throw new S3Error("InvalidRequest", "Cannot specify both Range header and partNumber query parameter");
  }
  const range = await found.partRange(readPartNumber(partNumber));
  if (!range) {
    throw new S3Error("InvalidPartNumber", undefined, {
      PartNumberRequested: partNumber,
      ActualPartCount: found.partCount(),
    });
  }
  return range;
}

/** Also true of an object of one part, which an upload made. */
function isMultipart(version: Version): boolean {
  return version.etag.includes("-");
}

/**
 * Headers that the request wants in the place of the object's own, by `response-*` parameters. Only in signed
 * requests: else anybody could have a public object say anything. Throws InvalidRequest, InvalidArgument.
 */
function responseOverrides(ctx: Context): [name: string, value: string][] {
  const names = ctx.target.query.names().filter((name) => OVERRIDES.includes(name));
  if (names.length > 0 && !ctx.caller) {
    throw new S3Error("InvalidRequest", "Request specific response headers cannot be used for anonymous GET requests.");
  }
  return names.map((name) => [name.slice("response-".length), checkOverride(name, ctx.parameter(name)!)]);
}

const OVERRIDES = [
  "cache-control",
  "content-disposition",
  "content-encoding",
  "content-language",
  "content-type",
  "expires",
].map((name) => `response-${name}`);

function checkOverride(name: string, value: string): string {
  if (/^[\t\x20-\x7E\u00A0-\u00FF]*$/.test(value)) return value;
  throw invalidArgument(name, value, "Header value cannot be represented using ISO-8859-1.");
}
