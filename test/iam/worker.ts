/** Verifies what arrives with one secret, as the S3 door does, and answers who signed it or S3's error code. */
import { isS3Error } from "../../src/errors.ts";
import { verify } from "../../src/iam/signature.ts";

export default {
  async fetch(request: Request, env: { SECRET: string }): Promise<Response> {
    const [, rawPath, rawQuery] = /^https?:\/\/[^/?]*([^?]*)\??(.*)$/.exec(request.url)!;
    try {
      const verified = await verify(
        {
          method: request.method,
          rawPath: rawPath!,
          rawQuery: rawQuery!,
          headers: request.headers,
          acceptEncodings: ["identity"],
        },
        { regions: ["ch-dk-2"], now: Date.now(), secretOf: async () => env.SECRET },
      );
      return new Response(verified?.accessKeyId ?? "anonymous");
    } catch (error) {
      if (isS3Error(error)) return new Response(error.code, { status: error.status });
      throw error;
    }
  },
};
