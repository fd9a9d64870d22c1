/**
 * An error on its way out: S3's XML, or for HEAD the status alone.
 *
 * A detail with a lower-case name is a header field, any other an element of `<Error>`. What isn't an S3Error is no
 * client's fault: ServiceUnavailable where a binding failed, which may work when it is asked again, InternalError where
 * we made a mistake; and a line in the log with the request id, which names no key. An S3Error that tells its cause (a
 * database that is away) gets such a line too.
 */
import { isS3Error, S3Error } from "../errors.ts";
import { logError } from "../log.ts";
import type { Context } from "./context.ts";
import { type Node, xml, xmlResponse } from "./xml.ts";

export function renderError(error: unknown, ctx: Context): Response {
  const shown = isS3Error(error) ? error : unforeseen(error);
  ctx.errorCode = shown.code;
  if (shown !== error || shown.cause !== undefined) logError(ctx.env, `${ctx.operation ?? ctx.method} failed`, error);
  const method = shown.code === "MethodNotAllowed" ? { Method: ctx.method } : {};
  const details = Object.entries({ ...method, ...shown.details }).filter(([, value]) => value !== undefined) as [
    string,
    string,
  ][];
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

function unforeseen(error: unknown): S3Error {
  return new S3Error(isOfBinding(error) ? "ServiceUnavailable" : "InternalError");
}

/** D1, R2 and Queues fail with plain Errors. Our mistakes have a class of their own, or are SQL that D1 refuses. */
function isOfBinding(error: unknown): boolean {
  const isPlain = error instanceof Error && error.name === "Error";
  return isPlain && !/SQLITE_(ERROR|CONSTRAINT|MISMATCH|RANGE|TOOBIG|MISUSE)/.test(error.message);
}
