/** An XML document as a request's body. */
import { S3Error } from "../errors.ts";
import { readDocument } from "./body.ts";
import type { Context } from "./context.ts";
import { parseXml, type XmlElement } from "./xml.ts";

/** Enough for every configuration that S3 knows. */
const MAX_BYTES = 1024 * 1024;

/**
 * The document's root, undefined for an empty body. Throws MalformedXML, also for a root of another name;
 * MaxMessageLengthExceeded above `maxBytes`, and what body.ts says of a body that isn't what was promised.
 */
export async function readOptionalXml(
  ctx: Context,
  rootName: string,
  maxBytes = MAX_BYTES,
): Promise<XmlElement | undefined> {
  const document = await readDocument(ctx.request, ctx.payload, { maxBytes });
  return document.length === 0 ? undefined : parseXml(document, rootName);
}

/** The same where there must be a document. Throws MissingRequestBodyError. */
export async function readXml(ctx: Context, rootName: string, maxBytes?: number): Promise<XmlElement> {
  const root = await readOptionalXml(ctx, rootName, maxBytes);
  if (!root) throw new S3Error("MissingRequestBodyError");
  return root;
}
