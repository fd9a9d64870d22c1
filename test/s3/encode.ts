/** aws-chunked as a client writes it, in all forms. The signatures are made here a second time, not by src. */
import { createHash, createHmac } from "node:crypto";
import type { SignedStream } from "../../src/iam/signature.ts";

export const SIGNING_KEY = Buffer.alloc(32, 7);
const AMZ_DATE = "20261122T101112Z";
const SCOPE = "20261122/ch-dk-2/s3/aws4_request";
const SEED = "5".repeat(64);
const EMPTY = createHash("sha256").digest("hex");

export const SIGNED: SignedStream = {
  kind: "streaming-signed",
  trailer: false,
  signingKey: new Uint8Array(SIGNING_KEY).buffer,
  seedSignature: SEED,
  amzDate: AMZ_DATE,
  scope: SCOPE,
};
export const SIGNED_TRAILER: SignedStream = { ...SIGNED, trailer: true };

export interface Form {
  signed: boolean;
  /** `name:value`; given empty: a form with trailers, but none sent */
  trailer?: string;
}

/** The chunks' bytes and the final chunk, framed. */
export function encode(chunks: Uint8Array[], { signed, trailer }: Form): Buffer {
  let previous = SEED;
  const sign = (algorithm: string, ...rest: string[]) => {
    const stringToSign = [algorithm, AMZ_DATE, SCOPE, previous, ...rest].join("\n");
    previous = createHmac("sha256", SIGNING_KEY).update(stringToSign).digest("hex");
    return previous;
  };
  const wire: Uint8Array[] = [];
  const write = (text: string) => wire.push(Buffer.from(text));
  for (const chunk of [...chunks, Buffer.alloc(0)]) {
    const signature = signed ? `;chunk-signature=${sign("AWS4-HMAC-SHA256-PAYLOAD", EMPTY, sha256(chunk))}` : "";
    write(`${chunk.length.toString(16)}${signature}\r\n`);
    if (chunk.length > 0) {
      wire.push(chunk);
      write("\r\n");
    }
  }
  if (trailer) write(`${trailer}\r\n`);
  if (signed && trailer !== undefined) {
    const text = trailer ? `${trailer}\n` : "";
    write(`x-amz-trailer-signature:${sign("AWS4-HMAC-SHA256-TRAILER", sha256(text))}\r\n`);
  }
  write("\r\n");
  return Buffer.concat(wire);
}

function sha256(data: string | Uint8Array): string {
  return createHash("sha256").update(data).digest("hex");
}
