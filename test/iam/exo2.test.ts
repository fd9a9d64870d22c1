import { createHmac } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Exo2Request, verifyExo2 } from "../../src/iam/exo2.ts";

const NOW = Date.UTC(2026, 10, 25, 13, 26);
const SECONDS = NOW / 1000;
const KEY = "EXO0123456789abcdef01234567";
const SECRET = "s3cr3t";

interface Call {
  method?: string;
  path?: string;
  /** name and value, decoded, in the order of the URL */
  query?: [string, string][];
  body?: string;
  expires?: number;
  key?: string;
  secret?: string;
}

/** The request as egoscale would send it: what it signs and how is written here anew. */
function send(call: Call = {}): Exo2Request {
  const { method = "GET", path = "/v2/iam-role", query = [], body = "", expires = SECONDS + 600 } = call;
  const signed = query.toSorted(([a], [b]) => (a < b ? -1 : 1));
  const message = `${method} ${path}\n${body}\n${signed.map(([, value]) => value).join("")}\n\n${expires}`;
  const signature = createHmac("sha256", call.secret ?? SECRET)
    .update(message)
    .digest("base64");
  const names = signed.length ? `,signed-query-args=${signed.map(([name]) => name).join(";")}` : "";
  return {
    method,
    rawPath: path,
    rawQuery: new URLSearchParams(query).toString(),
    authorization: `EXO2-HMAC-SHA256 credential=${call.key ?? KEY}${names},expires=${expires},signature=${signature}`,
    body: bytes(body),
  };
}

const bytes = (text: string) => new Uint8Array(Buffer.from(text));
const secretOf = async (key: string) => (key === KEY ? SECRET : undefined);
const verify = (request: Exo2Request) => verifyExo2(request, { now: NOW, secretOf });
const refused = expect.objectContaining({ code: "Unauthorized", status: 403 });

describe("EXO2-HMAC-SHA256", () => {
  test("a request as egoscale signs it is accepted", async () => {
    await expect(verify(send())).resolves.toMatchObject({ accessKeyId: KEY });
    await expect(verify(send({ path: "/v2/iam-role/1f3e:policy", method: "PUT", body: "{}" }))).resolves.toBeDefined();
    await expect(
      verify(
        send({
          query: [
            ["key", "a b/ü+%&=;"],
            ["by", ""],
          ],
        }),
      ),
    ).resolves.toBeDefined();
  });

  test("whatever the request, changing any signed part refuses it", async () => {
    const parts = fc.record({
      method: fc.constantFrom("GET", "POST", "PUT", "DELETE"),
      path: fc.webPath().map((path) => `/v2${path}`),
      query: fc.uniqueArray(fc.tuple(fc.stringMatching(/^[a-z]{1,8}$/), fc.string()), { selector: ([name]) => name }),
      body: fc.string(),
    });
    await fc.assert(
      fc.asyncProperty(parts, async (call) => {
        const request = send(call);
        await expect(verify(request)).resolves.toMatchObject({ accessKeyId: KEY });
        const body = bytes(`${call.body} `);
        const changes = [
          { method: "PATCH" },
          { rawPath: `${call.path}x` },
          { body },
          { rawQuery: `${request.rawQuery}&zz9=1` },
        ];
        for (const change of changes) await expect(verify({ ...request, ...change })).rejects.toEqual(refused);
      }),
      { numRuns: 50 },
    );
  });

  test("the path is taken as it was sent, not decoded and not folded", async () => {
    const request = send({ path: "/v2/a/../iam-role/%41" });
    await expect(verify(request)).resolves.toBeDefined();
    await expect(verify({ ...request, rawPath: "/v2/iam-role/A" })).rejects.toEqual(refused);
  });

  test("an unknown key and a wrong secret answer alike", async () => {
    const messages = [send({ key: "EXOunknown" }), send({ secret: "guess" })].map((request) =>
      verify(request).catch((error: Error) => error.message),
    );
    const [unknown, wrong] = await Promise.all(messages);
    expect(unknown).toBe(wrong);
  });

  test.each([
    ["over", SECONDS - 1],
    ["more than an hour ahead", SECONDS + 3601],
  ])("expires %s is refused", async (_, expires) => {
    await expect(verify(send({ expires }))).rejects.toEqual(refused);
  });

  test("expires now and an hour ahead is accepted", async () => {
    await expect(verify(send({ expires: SECONDS }))).resolves.toBeDefined();
    await expect(verify(send({ expires: SECONDS + 3600 }))).resolves.toBeDefined();
  });

  test("a query parameter that is given twice is refused", async () => {
    const request = send({ query: [["a", "1"]] });
    await expect(verify({ ...request, rawQuery: "a=1&a=1" })).rejects.toThrow("given twice");
  });

  test("a query parameter that is not signed is refused", async () => {
    await expect(verify({ ...send(), rawQuery: "a=1" })).rejects.toThrow("'a' is not signed");
    // With an empty value the signed message would be the same.
    await expect(verify({ ...send(), rawQuery: "a=" })).rejects.toThrow("'a' is not signed");
  });

  test("values can't be moved to other names", async () => {
    const { authorization, ...request } = send({
      query: [
        ["a", "1"],
        ["b", "23"],
      ],
    });
    await expect(verify({ ...request, authorization, rawQuery: "b=1&a=23" })).rejects.toEqual(refused);
    const swapped = authorization!.replace("a;b", "b;a");
    await expect(verify({ ...request, authorization: swapped, rawQuery: "b=1&a=23" })).rejects.toEqual(refused);
    const missing = authorization!.replace("a;b", "a;b;c");
    await expect(verify({ ...request, authorization: missing })).rejects.toEqual(refused);
  });

  test.each([
    null,
    "",
    "Bearer x",
    "EXO2-HMAC-SHA256",
    "EXO2-HMAC-SHA256 ",
    `EXO2-HMAC-SHA256 credential=${KEY},expires=${SECONDS}`,
    `EXO2-HMAC-SHA256 credential=${KEY},expires=${SECONDS},signature=`,
    `EXO2-HMAC-SHA256 credential=${KEY},expires=1e9,signature=AAAA`,
    `EXO2-HMAC-SHA256 credential=${KEY},credential=${KEY},expires=${SECONDS},signature=AAAA`,
    `EXO2-HMAC-SHA256 credential=${KEY},expires=${SECONDS},signature=AAAA,other=1`,
    `EXO2-HMAC-SHA256 credential=${KEY},expires=${SECONDS},signature=!!!!`,
    `EXO2-HMAC-SHA256 credential=${KEY},expires=${SECONDS},signature=AAAA`,
  ])("authorization '%s' is refused", async (authorization) => {
    await expect(verify({ ...send(), authorization })).rejects.toEqual(refused);
  });
});
