/** AWS's published examples of SigV4 for S3 (bucket examplebucket, 24 May 2013), and how to have them verified. */
import { createHash } from "node:crypto";
import { type SignedRequest, verify } from "../../src/iam/signature.ts";

export const ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE";
export const SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
export const NOW = Date.UTC(2013, 4, 24);
export const HOST = "examplebucket.s3.amazonaws.com";
export const EMPTY = createHash("sha256").digest("hex");
export const SCOPE = "20130524/us-east-1/s3/aws4_request";

type Changes = Partial<Omit<SignedRequest, "headers">> & { headers?: Record<string, string | undefined>; now?: number };

/** Verifies a request at the examples' time; `changes` are made to it after it was signed. */
export async function check(request: Omit<SignedRequest, "acceptEncodings">, changes: Changes = {}) {
  const headers = new Headers(request.headers);
  for (const [name, value] of Object.entries(changes.headers ?? {})) {
    if (value === undefined) headers.delete(name);
    else headers.set(name, value);
  }
  const { now = NOW, headers: _, ...rest } = changes;
  return await verify(
    { acceptEncodings: [], ...request, ...rest, headers },
    { regions: ["us-east-1", "ch-dk-2"], now, secretOf: async () => SECRET },
  );
}

export function authorization(signedHeaders: string, signature: string, scope = SCOPE): string {
  return `AWS4-HMAC-SHA256 Credential=${ACCESS_KEY}/${scope},SignedHeaders=${signedHeaders},Signature=${signature}`;
}

export function example(
  method: string,
  target: string,
  signedHeaders: string,
  signature: string,
  headers: Record<string, string> = {},
) {
  const [rawPath, rawQuery = ""] = target.split("?");
  const all = {
    host: HOST,
    "x-amz-date": "20130524T000000Z",
    "x-amz-content-sha256": EMPTY,
    authorization: authorization(signedHeaders, signature),
    ...headers,
  };
  return { method, rawPath: rawPath!, rawQuery, headers: new Headers(all) };
}

const STREAM_HEADERS = {
  host: "s3.amazonaws.com",
  "x-amz-storage-class": "REDUCED_REDUNDANCY",
  "content-encoding": "aws-chunked",
  "x-amz-decoded-content-length": "66560",
};
export const USUAL = "host;x-amz-content-sha256;x-amz-date";

/** https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html, sigv4-streaming.html, sigv4-streaming-trailers.html */
export const EXAMPLES = {
  "GET object": example(
    "GET",
    "/test.txt",
    "host;range;x-amz-content-sha256;x-amz-date",
    "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    { range: "bytes=0-9" },
  ),
  "PUT object": example(
    "PUT",
    "/test$file.text",
    "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
    "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    {
      date: "Fri, 24 May 2013 00:00:00 GMT",
      "x-amz-storage-class": "REDUCED_REDUNDANCY",
      "x-amz-content-sha256": "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
    },
  ),
  "GET bucket lifecycle": example(
    "GET",
    "/?lifecycle",
    USUAL,
    "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
  ),
  "list objects": example(
    "GET",
    "/?max-keys=2&prefix=J",
    USUAL,
    "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
  ),
  "chunked upload": example(
    "PUT",
    "/examplebucket/chunkObject.txt",
    "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class",
    "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
    { ...STREAM_HEADERS, "content-length": "66824", "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" },
  ),
  "chunked upload with trailer": example(
    "PUT",
    "/examplebucket/chunkObject.txt",
    "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer",
    "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
    {
      ...STREAM_HEADERS,
      "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
      "x-amz-trailer": "x-amz-checksum-crc32c",
    },
  ),
};

export const PRESIGNED = {
  method: "GET",
  rawPath: "/test.txt",
  rawQuery: `X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=${ACCESS_KEY}%2F${SCOPE.replaceAll("/", "%2F")}&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404`,
  headers: new Headers({ host: HOST }),
};
