/** What a signature or a policy says can't be got round by saying it elsewhere. */
import { createHash, createHmac } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Cache } from "../../src/cache.ts";
import { startZones, type Zones } from "../harness.ts";
import { exchange, send } from "./raw.ts";

const [NEAR, FAR] = ["ch-dk-2", "at-vie-1"] as const;
let zones: Zones;
beforeAll(async () => {
  zones = await startZones();
  await send(zones, "PUT", "/near-bucket");
  await send(zones, "PUT", "/far-bucket", { zone: FAR });
});
afterAll(() => zones?.stop());

const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");

/** A presigned target with parameters that no SDK signs. */
function presign(method: string, path: string, parameters: Record<string, string>): string {
  const { key, secret } = zones.organizations.main;
  const date = new Date().toISOString().replace(/[:-]|\.\d{3}/g, "");
  const scope = [date.slice(0, 8), NEAR, "s3", "aws4_request"];
  const query = Object.entries({
    "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
    "X-Amz-Credential": `${key}/${scope.join("/")}`,
    "X-Amz-Date": date,
    "X-Amz-Expires": "300",
    "X-Amz-SignedHeaders": "host",
    ...parameters,
  })
    .map((pair) => pair.map(encodeURIComponent).join("="))
    .sort()
    .join("&");
  const host = `host:${new URL(zones.endpoint(NEAR)).host}`;
  const payload = parameters["X-Amz-Content-Sha256"] ?? "UNSIGNED-PAYLOAD";
  const canonicalRequest = [method, path, query, host, "", "host", payload].join("\n");
  const stringToSign = ["AWS4-HMAC-SHA256", date, scope.join("/"), sha256(canonicalRequest)].join("\n");
  const hmac = (secretKey: string | Buffer, text: string) => createHmac("sha256", secretKey).update(text).digest();
  const signature = hmac(scope.reduce<string | Buffer>(hmac, `AWS4${secret}`), stringToSign).toString("hex");
  return `${path}?${query}&X-Amz-Signature=${signature}`;
}

/** A key of a role with these rules. */
async function keyWith(rules: { action: string; expression: string }[]): Promise<{ key: string; secret: string }> {
  const name = `role-${Math.random()}`;
  const policy = { "default-service-strategy": "deny", services: { sos: { type: "rules", rules } } };
  const role = await zones.control<{ reference: { id: string } }>("POST", "/iam-role", { name, policy });
  const key = { name, "role-id": role.body.reference.id };
  return (await zones.control<{ key: string; secret: string }>("POST", "/api-key", key)).body;
}

describe("a presigned URL", () => {
  it("that signs a payload hash takes no other payload, whatever an unsigned header says", async () => {
    const target = presign("PUT", "/near-bucket/pinned", { "X-Amz-Content-Sha256": sha256("good") });
    const put = (body: string, headers = {}) => exchange(new URL(zones.endpoint(NEAR)), "PUT", target, headers, body);
    for (const word of ["UNSIGNED-PAYLOAD", sha256("evil")]) {
      const answer = await put("evil", { "x-amz-content-sha256": word });
      expect(answer).toMatchObject({ status: 400, code: "XAmzContentSHA256Mismatch" });
    }
    expect(await put("good")).toMatchObject({ status: 200 });
  });

  it.each([
    ["x-amz-meta-a", "b\nc"],
    ["x-amz-meta-a b", "c"],
    ["x-amz-acl", "\0"],
  ])("with a parameter %j=%j that can be no header is InvalidArgument", async (name, value) => {
    const target = presign("PUT", "/near-bucket/k", { [name]: value });
    const answer = await exchange(new URL(zones.endpoint(NEAR)), "PUT", target, {}, "x");
    expect(answer).toMatchObject({ status: 400, code: "InvalidArgument" });
  });
});

describe("a copy", () => {
  it("from another zone is judged there as the caller's own, by key and zone", async () => {
    await send(zones, "PUT", "/far-bucket/secret", { zone: FAR, body: "secret" });
    const key = await keyWith([
      { action: "deny", expression: `zone == '${FAR}' && api_key.startsWith('EXO') && operation == 'get-object'` },
      { action: "deny", expression: `zone == '${FAR}' && operation == 'head-object'` },
      { action: "allow", expression: "true" },
    ]);
    expect(await send(zones, "GET", "/far-bucket/secret", { key, zone: FAR })).toMatchObject({ status: 403 });
    const headers = { "x-amz-copy-source": "far-bucket/secret" };
    expect(await send(zones, "PUT", "/near-bucket/stolen", { key, headers })).toMatchObject({ code: "AccessDenied" });
  });

  it("takes tags along only where tags may be read and written", async () => {
    const tagged = { headers: { "x-amz-tagging": "a=b" }, body: "x" };
    await send(zones, "PUT", "/near-bucket/tagged", tagged);
    await send(zones, "PUT", "/far-bucket/tagged", { ...tagged, zone: FAR });
    const operations = "['get-object', 'put-object', 'head-object']";
    const key = await keyWith([{ action: "allow", expression: `operation in ${operations}` }]);
    for (const source of ["near-bucket/tagged", "far-bucket/tagged"]) {
      const headers = { "x-amz-copy-source": source };
      expect(await send(zones, "PUT", "/near-bucket/copy", { key, headers })).toMatchObject({ code: "AccessDenied" });
    }
  });

  it.each(["near-bucket", "far-bucket"])("of a key over 1,024 bytes from %s is KeyTooLongError", async (bucket) => {
    const headers = { "x-amz-copy-source": `${bucket}/${"k".repeat(2000)}` };
    expect(await send(zones, "PUT", "/near-bucket/copy", { headers })).toMatchObject({ code: "KeyTooLongError" });
  });
});

it("CreateBucket is authorised by the zone that is to hold the bucket", async () => {
  const key = await keyWith([{ action: "allow", expression: `zone == '${FAR}'` }]);
  expect(await send(zones, "PUT", "/made-through-near", { key, region: FAR })).toMatchObject({ status: 200 });
  expect(await send(zones, "PUT", "/made-here", { key })).toMatchObject({ code: "AccessDenied" });
});

it.each(["&constructor;", "&toString;", "&__proto__;"])("an entity %s is MalformedXML", async (entity) => {
  const body = `<Delete><Object><Key>x${entity}</Key></Object></Delete>`;
  expect(await send(zones, "POST", "/near-bucket?delete", { body })).toMatchObject({ code: "MalformedXML" });
});

it("a document of a million tags is MalformedXML before it becomes objects", async () => {
  const body = `<Delete>${"<a/>".repeat(900_000)}</Delete>`;
  expect(await send(zones, "POST", "/near-bucket?delete", { body })).toMatchObject({ code: "MalformedXML" });
});

describe("what an isolate remembers", () => {
  const away = async () => Promise.reject(new Error("the control database is away"));

  it("isn't pushed out by questions for what isn't there", async () => {
    const cache = new Cache<string>({ ttl: 0, absentTtl: 1000, staleFor: 60_000 });
    await cache.get("known", async () => "value");
    for (let i = 0; i < 20_000; i++) await cache.get(`absent-${i}`, async () => undefined);
    expect(await cache.get("known", away)).toBe("value");
  });

  it("never holds an absence where absences are not to be remembered", async () => {
    const cache = new Cache<string>({ ttl: 1000, absentTtl: 0, staleFor: 60_000 });
    expect(await cache.get("k", async () => undefined)).toBeUndefined();
    await expect(cache.get("k", away)).rejects.toThrow("away");
    expect(await cache.get("k", async () => "made meanwhile")).toBe("made meanwhile");
  });
});
