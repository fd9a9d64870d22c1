/**
 * A client of the control API for these tests, which shows what was signed: it can send the very same request again, as
 * `exo` does after a lost answer, and it can sign with whatever key.
 */
import { createHmac } from "node:crypto";

export interface Signer {
  key: string;
  secret: string;
}

export interface Answer {
  status: number;
  // biome-ignore lint/suspicious/noExplicitAny: an answer's shape is what the tests are about
  body: any;
}

export interface SignedRequest {
  url: string;
  init: { method: string; headers: Record<string, string>; body?: string };
}

/** `path` begins behind `/v2`; its query, if any, is signed too. `text` is the body as it is sent. */
export function sign(
  api: string,
  signer: Signer,
  method: string,
  path: string,
  body?: unknown,
  text = body === undefined ? "" : JSON.stringify(body),
): SignedRequest {
  const url = new URL(api + path);
  const expires = Math.floor(Date.now() / 1000) + 600;
  const names = [...url.searchParams.keys()].sort();
  const values = names.map((name) => url.searchParams.get(name)).join("");
  const message = `${method} ${url.pathname}\n${text}\n${values}\n\n${expires}`;
  const signature = createHmac("sha256", signer.secret).update(message).digest("base64");
  const signed = names.length ? `,signed-query-args=${names.join(";")}` : "";
  const authorization = `EXO2-HMAC-SHA256 credential=${signer.key}${signed},expires=${expires},signature=${signature}`;
  return { url: url.href, init: { method, headers: { authorization }, ...(text && { body: text }) } };
}

export async function send({ url, init }: SignedRequest): Promise<Answer> {
  const response = await fetch(url, init);
  return { status: response.status, body: await response.json() };
}
