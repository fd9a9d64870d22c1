/**
 * An error on its way out: S3's XML, or for HEAD the status alone.
 *
 * A detail with a lower-case name is a header field, any other an element of `<Error>`. What isn't an S3Error is a
 * fault of ours: InternalError to the client, and one line in the log with the request id, which names no key.
 */
import { isS3Error, S3Error } from "../errors.ts";
import type { Context } from "./context.ts";
import { type Node, xml, xmlResponse } from "./xml.ts";

export function renderError(error: unknown, ctx: Context): Response {
  const shown = isS3Error(error) ? error : internalError(error, ctx);
  const details = Object.entries(shown.details ?? {}).filter(([, value]) => value !== undefined) as [string, string][];
  const headers = new Headers(details.filter(([name]) => isHeader(name)).map(([name, value]) => [name, String(value)]));
  if (ctx.method === "HEAD") return new Response(null, { status: shown.status, headers });
  const document = xml("Error", [...elements(shown, details), ...footer(ctx)], null);
  return xmlResponse(document, { status: shown.status, headers });
}

/** The id that belongs to a request id: tells which zone answered. */
export function hostId(ctx: Context): string {
  return btoa(`${ctx.env.ZONE}/${ctx.requestId}`);
}

function elements(error: S3Error, details: [string, string][]): Node[] {
  const children = details.filter(([name]) => !isHeader(name));
  return [["Code", error.code], ["Message", error.message], ...children];
}

function footer(ctx: Context): Node[] {
  return [
    ["Resource", ctx.arrival.target.split("?")[0]!],
    ["RequestId", ctx.requestId],
    ["HostId", hostId(ctx)],
  ];
}

function isHeader(detail: string): boolean {
  return detail === detail.toLowerCase();
}

function internalError(error: unknown, ctx: Context): S3Error {
  console.error(ctx.requestId, ctx.method, error);
  return new S3Error("InternalError");
}
