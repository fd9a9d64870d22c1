/**
 * A request of the control API before anything is known of its sender: its raw target, its body, where it came from.
 *
 * The signature covers path and body as they were sent, so nothing here goes through `new URL()`, and the body is read
 * as bytes, once, up to a limit. Surprise: `exo x` sends a POST without a body as chunked, with no Content-Length.
 */
import { Buffer } from "node:buffer";
import { S3Error } from "../errors.ts";
import type { ControlEnv } from "./environment.ts";

/** A policy of 64 KB may arrive six times as long: Go writes `<`, `>` and `&` as \u003c. */
const BODY_MAX_BYTES = 1024 * 1024;

export function rawTarget(request: Request): { rawPath: string; rawQuery: string } {
  const [, rawPath = "", rawQuery = ""] = /^[a-z]+:\/\/[^/?#]*([^?#]*)(?:\?([^#]*))?/i.exec(request.url) ?? [];
  return { rawPath, rawQuery };
}

/** The whole body. Throws MaxMessageLengthExceeded above 1 MiB. */
export async function readBody(request: Request): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of request.body ?? []) {
    length += chunk.byteLength;
    if (length > BODY_MAX_BYTES) throw new S3Error("MaxMessageLengthExceeded");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** The JSON object in a body; an empty body counts as an empty object. Throws BadRequest. */
export function parseObject(body: Uint8Array): Record<string, unknown> {
  if (body.length === 0) return {};
  const value = parseJson(new TextDecoder().decode(body));
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new S3Error("BadRequest", "The body must be a JSON object");
  }
  return value as Record<string, unknown>;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new S3Error("BadRequest", `The body is not JSON: ${(error as Error).message}`);
  }
}

/** The client's address as Cloudflare's edge saw it. Locally no edge overwrites the header, so it is ignored there. */
export function sourceIp(request: Request, env: Pick<ControlEnv, "LOCAL">): string {
  return (env.LOCAL ? null : request.headers.get("cf-connecting-ip")) ?? "127.0.0.1";
}
