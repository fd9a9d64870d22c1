/** SigV4 in the Authorization header: AWS's published examples, every form that must be refused, and another signer. */
import { createHash, createHmac } from "node:crypto";
import { AwsV4Signer } from "aws4fetch";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  chunkSignature,
  isSameSignature,
  type SignedRequest,
  type SignedStream,
  trailerSignature,
} from "../../src/iam/signature.ts";
import {
  ACCESS_KEY,
  authorization,
  check,
  EMPTY,
  EXAMPLES,
  example,
  HOST,
  NOW,
  PRESIGNED,
  SCOPE,
  SECRET,
  USUAL,
} from "./examples.ts";

describe("AWS's published examples", () => {
  test.each(Object.entries(EXAMPLES))("%s is verified", async (_, request) => {
    expect(await check(request)).toMatchObject({ accessKeyId: ACCESS_KEY, region: "us-east-1", isPresigned: false });
  });

  test.each(Object.entries(EXAMPLES))("%s with one byte changed is refused", async (_, request) => {
    const refused = expect.objectContaining({ code: "SignatureDoesNotMatch", status: 403 });
    await expect(check(request, { method: "DELETE" })).rejects.toEqual(refused);
    await expect(check(request, { rawPath: `${request.rawPath}x` })).rejects.toEqual(refused);
    await expect(check(request, { rawQuery: "acl" })).rejects.toEqual(refused);
    await expect(check(request, { headers: { host: `${HOST}.` } })).rejects.toEqual(refused);
    const sha256 = createHash("sha256").update("x").digest("hex");
    await expect(check(request, { headers: { "x-amz-content-sha256": sha256 } })).rejects.toEqual(refused);
    const tampered = request.headers.get("authorization")!.replace(/.$/, (digit) => (digit === "0" ? "1" : "0"));
    await expect(check(request, { headers: { authorization: tampered } })).rejects.toEqual(refused);
  });

  test("the payload's kind comes with the verification", async () => {
    expect((await check(EXAMPLES["GET object"]))!.payload).toEqual({ kind: "hash", sha256: EMPTY });
    expect((await check(EXAMPLES["chunked upload"]))!.payload).toMatchObject({
      kind: "streaming-signed",
      trailer: false,
      seedSignature: "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
      amzDate: "20130524T000000Z",
      scope: SCOPE,
    });
    expect((await check(EXAMPLES["chunked upload with trailer"]))!.payload).toMatchObject({ trailer: true });
    expect((await check(PRESIGNED))!.payload).toEqual({ kind: "unsigned" });
  });

  test("the chunks of the chunked upload are signed one on top of the other", async () => {
    const stream = (await check(EXAMPLES["chunked upload"]))!.payload as SignedStream;
    const chunks = [Buffer.alloc(65536, "a"), Buffer.alloc(1024, "a"), Buffer.alloc(0)];
    const signatures: string[] = [];
    for (const chunk of chunks) {
      const sha256 = createHash("sha256").update(chunk).digest("hex");
      signatures.push(chunkSignature(stream, signatures.at(-1) ?? stream.seedSignature, sha256));
    }
    expect(signatures).toEqual([
      "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
      "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
      "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
    ]);
  });

  test("the trailer is signed on top of the final chunk", async () => {
    const stream = (await check(EXAMPLES["chunked upload with trailer"]))!.payload as SignedStream;
    const final = "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992";
    const sha256 = createHash("sha256").update("x-amz-checksum-crc32c:sOO8/Q==\n").digest("hex");
    const expected = "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435";
    expect(trailerSignature(stream, final, sha256)).toBe(expected);
    expect(isSameSignature(expected, expected)).toBe(true);
    expect(isSameSignature(expected, expected.slice(1))).toBe(false);
  });

  test("the presigned URL is verified until it expires", async () => {
    expect(await check(PRESIGNED)).toMatchObject({ accessKeyId: ACCESS_KEY, isPresigned: true });
    expect(await check(PRESIGNED, { now: NOW + 86_399_000 })).toBeDefined();
    const expired = check(PRESIGNED, { now: NOW + 86_400_000 });
    await expect(expired).rejects.toMatchObject({
      code: "AccessDenied",
      message: "Request has expired",
      details: { "X-Amz-Expires": 86400, Expires: "2013-05-25T00:00:00.000Z" },
    });
    await expect(check(PRESIGNED, { rawPath: "/test.tx" })).rejects.toMatchObject({ code: "SignatureDoesNotMatch" });
  });
});

describe("a signature that doesn't match", () => {
  test("is told with what the server calculated, but no secret", async () => {
    const request = example("GET", "/test.txt", `${USUAL};x-amz-security-token`, "0".repeat(64), {
      "x-amz-security-token": "VERYSECRET",
    });
    const error = await check(request).catch((thrown) => thrown);
    expect(error.details).toMatchObject({ AWSAccessKeyId: ACCESS_KEY, SignatureProvided: "0".repeat(64) });
    expect(error.details.StringToSign).toMatch(
      /^AWS4-HMAC-SHA256\n20130524T000000Z\n20130524\/us-east-1\/s3\/aws4_request\n/,
    );
    expect(error.details.CanonicalRequest).toContain("GET\n/test.txt\n\nhost:examplebucket.s3.amazonaws.com\n");
    expect(JSON.stringify(error)).not.toMatch(/VERYSECRET|wJalrXUtn/);
  });
});

describe("a header that isn't of SigV4's form", () => {
  const usual = EXAMPLES["GET bucket lifecycle"];
  const withAuthorization = (value: string) => check(usual, { headers: { authorization: value } });
  const withScope = (scope: string) => withAuthorization(authorization(USUAL, "0".repeat(64), scope));

  test("SigV2 and SigV4A are refused by name", async () => {
    const message = "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.";
    const refused = expect.objectContaining({ code: "InvalidRequest", message });
    await expect(withAuthorization("AWS AKID:c2lnbmF0dXJl")).rejects.toEqual(refused);
    await expect(withAuthorization("AWS4-ECDSA-P256-SHA256 Credential=a")).rejects.toEqual(refused);
    const unsigned = { headers: { authorization: undefined } };
    await expect(check(usual, { ...unsigned, rawQuery: "AWSAccessKeyId=a&Signature=b" })).rejects.toEqual(refused);
    await expect(check(usual, { ...unsigned, rawQuery: "Signature=b" })).rejects.toEqual(refused);
  });

  test("another scheme is InvalidArgument, and what follows it isn't echoed", async () => {
    const error = await withAuthorization("Bearer topsecret").catch((thrown) => thrown);
    expect(error).toMatchObject({ code: "InvalidArgument", message: "Unsupported Authorization Type" });
    expect(JSON.stringify(error)).not.toContain("topsecret");
  });

  test("two mechanisms at once are InvalidArgument", async () => {
    await expect(check(usual, { rawQuery: PRESIGNED.rawQuery })).rejects.toMatchObject({ code: "InvalidArgument" });
    await expect(check(usual, { rawQuery: "Signature=x" })).rejects.toMatchObject({ code: "InvalidArgument" });
  });

  test("no signature at all is anonymous", async () => {
    expect(await check(usual, { headers: { authorization: undefined } })).toBeUndefined();
    expect(await check(usual, { headers: { authorization: "" } })).toBeUndefined();
  });

  test.each([
    ["", 'component "" is malformed'],
    ["Credential=a/b", "requires three components"],
    ["Credential=,SignedHeaders=host,Signature=0", 'component "Credential=" is malformed'],
    ["Credential", 'component "Credential" is malformed'],
    [`Credential=${ACCESS_KEY}/${SCOPE},SignedHeaders=host,Signature=0,More=1`, "requires three components"],
    [
      `Credential=${ACCESS_KEY}/us-east-1/s3/aws4_request,SignedHeaders=host,Signature=0`,
      "the Credential is mal-formed",
    ],
    [`Credential=/${SCOPE},SignedHeaders=host,Signature=0`, "non-empty Access Key"],
    [`Credential=${ACCESS_KEY}/${SCOPE},SignedHeaders=host; ,Signature=0`, "SignedHeaders"],
    [`Credential=${ACCESS_KEY}/${SCOPE},SignedHeaders=ho st,Signature=0`, "SignedHeaders"],
  ])("components %s: AuthorizationHeaderMalformed", async (components, message) => {
    const refused = { code: "AuthorizationHeaderMalformed", status: 400, message: expect.stringContaining(message) };
    await expect(withAuthorization(`AWS4-HMAC-SHA256 ${components}`)).rejects.toMatchObject(refused);
  });

  test("a scope of another day, region, service or terminal is AuthorizationHeaderMalformed", async () => {
    const refused = (message: string, details = {}) => ({
      code: "AuthorizationHeaderMalformed",
      message: `The authorization header is malformed; ${message}`,
      details,
    });
    await expect(withScope("20130524/eu-west-1/s3/aws4_request")).rejects.toMatchObject(
      refused("the region 'eu-west-1' is wrong; expecting 'us-east-1'", { Region: "us-east-1" }),
    );
    await expect(withScope("20130523/us-east-1/s3/aws4_request")).rejects.toMatchObject(
      refused('Invalid credential date "20130523". This date is not the same as X-Amz-Date: "20130524".'),
    );
    await expect(withScope("20130524/us-east-1/ec2/aws4_request")).rejects.toMatchObject(
      refused('incorrect service "ec2". This endpoint belongs to "s3".'),
    );
    await expect(withScope("20130524/us-east-1/s3/aws4_reque")).rejects.toMatchObject(
      refused('incorrect terminal "aws4_reque". This endpoint uses "aws4_request".'),
    );
    await expect(withScope("today/us-east-1/s3/aws4_request")).rejects.toMatchObject({
      code: "AuthorizationHeaderMalformed",
    });
  });

  test("x-amz-content-sha256 is required, and must be a hash or one of the words", async () => {
    await expect(check(usual, { headers: { "x-amz-content-sha256": undefined } })).rejects.toMatchObject({
      code: "InvalidRequest",
      message: "Missing required header for this request: x-amz-content-sha256",
    });
    for (const value of ["", "abc", "STREAMING-AWS4-HMAC-SHA256", "unsigned-payload", `${EMPTY}0`]) {
      await expect(check(usual, { headers: { "x-amz-content-sha256": value } })).rejects.toMatchObject({
        code: "InvalidArgument",
        details: { ArgumentName: "x-amz-content-sha256", ArgumentValue: value },
      });
    }
  });

  test("a missing or malformed date is AccessDenied", async () => {
    for (const date of [
      undefined,
      "",
      "today",
      "20130524",
      "20130231T000000Z",
      "20130524T250000Z",
      "Fri, 99 May 2013 00:00:00 GMT",
    ]) {
      await expect(check(usual, { headers: { "x-amz-date": date } })).rejects.toMatchObject({
        code: "AccessDenied",
        message: "AWS authentication requires a valid Date or x-amz-date header",
      });
    }
  });

  test("a clock more than 15 minutes off is RequestTimeTooSkewed", async () => {
    for (const now of [NOW - 900_000, NOW + 900_000]) expect(await check(usual, { now })).toBeDefined();
    for (const now of [NOW - 900_001, NOW + 900_001]) {
      await expect(check(usual, { now })).rejects.toMatchObject({
        code: "RequestTimeTooSkewed",
        details: { RequestTime: "20130524T000000Z", MaxAllowedSkewMilliseconds: 900_000 },
      });
    }
  });

  test("an x-amz- header that isn't signed is AccessDenied, other headers may be added", async () => {
    await expect(check(usual, { headers: { "x-amz-acl": "public-read" } })).rejects.toMatchObject({
      code: "AccessDenied",
      message: "There were headers present in the request which were not signed",
      details: { HeadersNotSigned: "x-amz-acl" },
    });
    const hostless = authorization("x-amz-content-sha256;x-amz-date", "0".repeat(64));
    await expect(withAuthorization(hostless)).rejects.toMatchObject({ details: { HeadersNotSigned: "host" } });
    expect(await check(usual, { headers: { "user-agent": "x", "x-amzn-trace-id": "y" } })).toBeDefined();
  });

  test("the date header serves where there is no x-amz-date, in both forms", async () => {
    for (const date of ["20130524T000000Z", "Fri, 24 May 2013 00:00:00 GMT"]) {
      const headers = new Headers({ host: HOST, date, "x-amz-content-sha256": EMPTY });
      const request = { method: "GET", rawPath: "/", rawQuery: "", headers, acceptEncodings: [] };
      signByHand(request, "date;host;x-amz-content-sha256");
      expect(await check(request)).toBeDefined();
    }
  });
});

describe("aws4fetch", () => {
  const path = fc
    .string({ unit: fc.constantFrom(..."aZ0-._~/ %+!'()*&=?#üß€") })
    .map((text) => encodeURIComponent(text));
  const parameters = fc.uniqueArray(
    fc.tuple(fc.string({ minLength: 1, unit: "binary" }), fc.string({ unit: "binary" })),
    {
      selector: ([name]) => name,
      maxLength: 5,
    },
  );
  const usable = ([name]: [string, string]) =>
    !/^(x-amz-|Signature$|AWSAccessKeyId$)/i.test(name) && name.isWellFormed();

  test("signs what is verified, whatever the path and query", async () => {
    const property = fc.asyncProperty(path, parameters, fc.boolean(), async (key, pairs, signQuery) => {
      const url = new URL(`http://127.0.0.1:9000/bucket/${key}`);
      for (const pair of pairs.filter(usable)) if (pair[1].isWellFormed()) url.searchParams.append(...pair);
      const signer = new AwsV4Signer({
        url: url.href,
        method: "PUT",
        service: "s3",
        region: "us-east-1",
        accessKeyId: ACCESS_KEY,
        secretAccessKey: SECRET,
        signQuery,
      });
      const { headers, url: signed } = await signer.sign();
      headers.set("host", signed.host);
      const request = { method: "PUT", rawPath: signed.pathname, rawQuery: signed.search.slice(1), headers };
      expect(await check(request, { now: Date.now() })).toMatchObject({ isPresigned: signQuery });
    });
    await fc.assert(property, { numRuns: 200 });
  });
});

function signature(scope: string, stringToSign: string): string {
  const hmac = (key: string | Buffer, text: string) => createHmac("sha256", key).update(text).digest();
  return hmac(scope.split("/").reduce<string | Buffer>(hmac, `AWS4${SECRET}`), stringToSign).toString("hex");
}

/** Adds an Authorization header over just these headers. */
function signByHand(request: SignedRequest, signedHeaders: string): void {
  const names = signedHeaders.split(";");
  const lines = names.map((name) => `${name}:${request.headers.get(name)}`);
  const canonical = [request.method, request.rawPath, request.rawQuery, ...lines, "", signedHeaders, EMPTY].join("\n");
  const hash = createHash("sha256").update(canonical).digest("hex");
  const stringToSign = ["AWS4-HMAC-SHA256", "20130524T000000Z", SCOPE, hash].join("\n");
  request.headers.set("authorization", authorization(signedHeaders, signature(SCOPE, stringToSign)));
}
