/** Takes bodies in and puts them in R2 (or reads documents), and answers what became of it. `payload` stands in a header. */
import { isS3Error } from "../../src/errors.ts";
import type { Payload } from "../../src/iam/signature.ts";
import { readDocument, takeBody } from "../../src/s3/body.ts";
import type { Body } from "../../src/store/bodies.ts";

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const key = new URL(request.url).pathname;
    const payload = readPayload(request.headers.get("test-payload")!);
    let body: Body | undefined;
    try {
      if (key.startsWith("/document")) return new Response(await readDocument(request, payload, { maxBytes: 1000 }));
      body = takeBody(request, payload);
      const digest = body.sha256 ? { sha256: body.sha256 } : body.md5 ? { md5: body.md5 } : {};
      // As the store does: R2 never reads a stream of 0 bytes.
      const source = body.size === 0 ? await new Response(body.stream).arrayBuffer() : body.stream;
      const stored = await env.BLOBS.put(key, source, digest);
      const md5 = Buffer.from(stored.checksums.md5!).toString("hex");
      return Response.json({ size: body.size, md5, checksum: body.checksum?.() ?? null });
    } catch (thrown) {
      const error = body?.failure?.() ?? thrown;
      const isStored = (await env.BLOBS.head(key)) !== null;
      const { code, message, details } = isS3Error(error) ? error : { code: "", message: String(error), details: {} };
      return Response.json({ code, message, details, isStored, mismatch: body?.sha256Mismatch?.code }, { status: 400 });
    }
  },
};

function readPayload(text: string): Payload {
  const payload = JSON.parse(text);
  const signingKey = payload.signingKey && new Uint8Array(Buffer.from(payload.signingKey, "hex")).buffer;
  return { ...payload, ...(signingKey && { signingKey }) };
}
