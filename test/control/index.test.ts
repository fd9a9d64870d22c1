import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import * as directory from "../../src/directory.ts";
import { startZones, until, type Zones } from "../harness.ts";
import { type Signer, send, sign } from "./client.ts";

let zones: Zones;
let main: Signer & { id: string; name: string };
let alt: Signer & { id: string };

beforeAll(async () => {
  zones = await startZones({ entry: "test/control/zone.ts" });
  ({ main, alt } = zones.organizations);
});

afterAll(() => zones?.stop());

const call = (method: string, path: string, body?: unknown, signer: Signer = main) =>
  send(sign(zones.api, signer, method, path, body));

describe("GET /zone", () => {
  test("is unsigned and names this API and each zone's S3 endpoint", async () => {
    const response = await fetch(`${zones.api}/zone`);
    expect(response.status).toBe(200);
    const expected = zones.zones.map(({ name, endpoint }) => ({
      name,
      "api-endpoint": zones.api,
      "sos-endpoint": endpoint,
    }));
    expect(await response.json()).toEqual({ zones: expected });
  });
});

describe("A request", () => {
  test.each([
    ["GET", "/iam-role"],
    ["POST", "/iam-role"],
    ["GET", "/api-key"],
    ["GET", "/organization"],
    ["GET", "/sos-buckets-usage"],
    ["GET", "/iam-organization-policy"],
    ["POST", "/iam-organization-policy:reset"],
    ["GET", "/operation/1"],
  ])("without a signature is refused: %s %s", async (method, path) => {
    const response = await fetch(zones.api + path, { method });
    expect(response.status).toBe(403);
    expect(await response.json()).toEqual({ message: "Invalid or missing signature" });
  });

  test("with a wrong secret and with an unknown key is refused alike", async () => {
    const wrong = await call("GET", "/organization", undefined, { ...main, secret: "guess" });
    const unknown = await call("GET", "/organization", undefined, { key: `EXO${"0".repeat(24)}`, secret: "guess" });
    expect(wrong.status).toBe(403);
    expect(unknown).toEqual(wrong);
  });

  test("whose body, path or query was changed on the way is refused", async () => {
    const { url, init } = sign(zones.api, main, "POST", "/iam-role", { name: "signed" });
    expect((await send({ url, init: { ...init, body: '{"name":"other"}' } })).status).toBe(403);
    expect((await send({ url: url.replace("iam-role", "api-key"), init })).status).toBe(403);
    expect((await send({ url: `${url}?a=1`, init })).status).toBe(403);
    const query = sign(zones.api, main, "GET", "/organization?a=1");
    expect((await send(query)).status).toBe(200);
    expect((await send({ ...query, url: `${query.url}&a=1` })).status).toBe(403);
  });

  test("with a body that is no JSON object is refused with a message", async () => {
    for (const body of [[], "text", 7]) expect((await call("POST", "/iam-role", body)).status).toBe(400);
    const { status, body } = await call("PUT", "/iam-role/1", [1]);
    expect({ status, body }).toEqual({ status: 400, body: { message: "The body must be a JSON object" } });
  });

  test("with a body of more than 1 MiB is refused", async () => {
    const answer = await call("POST", "/iam-role", { name: "x".repeat(1024 * 1024) });
    expect(answer).toEqual({ status: 400, body: { message: "Your request was too big." } });
  });

  test("for a path that isn't known is 404, signed or not", async () => {
    expect((await call("GET", "/nothing")).status).toBe(404);
    expect((await call("PATCH", "/iam-role")).status).toBe(404);
    expect((await fetch(new URL("/", zones.api))).status).toBe(404);
  });

  test("is noted as the key's last use", async () => {
    await call("GET", "/organization");
    await until(async () => {
      const { body } = await call("GET", `/api-key/${main.key}`);
      expect(Date.parse(body["last-used-at"])).toBeGreaterThan(Date.now() - 60_000);
      return true;
    });
  });
});

describe("GET /organization", () => {
  test("names the caller's", async () => {
    expect((await call("GET", "/organization")).body).toEqual({ id: main.id, name: main.name });
  });
});

describe("POST /admin/organization", () => {
  const token = () => JSON.parse(readFileSync(join(zones.stateDir, "secrets.json"), "utf8")).ADMIN_TOKEN;
  const post = async (body: unknown, authorization?: string) => {
    const init = { method: "POST", body: JSON.stringify(body), headers: authorization ? { authorization } : {} };
    const response = await fetch(`${zones.api}/admin/organization`, init as RequestInit);
    return { status: response.status, body: (await response.json()) as Record<string, string> };
  };

  test("makes an organization, its Owner role and a key that may do everything in it", async () => {
    const { status, body } = await post({ name: "third" }, `Bearer ${token()}`);
    expect(status).toBe(200);
    expect(body).toEqual({
      id: expect.any(String),
      name: "third",
      key: expect.stringMatching(/^EXO[0-9a-f]{24}$/),
      secret: expect.any(String),
    });
    const signer = body as unknown as Signer;
    expect((await call("GET", "/organization", undefined, signer)).body).toEqual({ id: body.id, name: "third" });
    const roles = (await call("GET", "/iam-role", undefined, signer)).body["iam-roles"];
    expect(roles).toMatchObject([{ name: "Owner", editable: false }]);
    expect((await call("POST", "/iam-role", { name: "first" }, signer)).status).toBe(200);
  });

  test("is Conflict for a name that is taken, and makes nothing", async () => {
    await post({ name: "fourth" }, `Bearer ${token()}`);
    const control = await zones.d1("ch-dk-2", "CONTROL");
    const count = () =>
      control.prepare("SELECT (SELECT count(*) FROM roles) AS r, (SELECT count(*) FROM api_keys) AS k").first();
    const before = await count();
    expect((await post({ name: "fourth" }, `Bearer ${token()}`)).status).toBe(409);
    expect(await count()).toEqual(before);
  });

  test("is refused without the admin token", async () => {
    for (const authorization of [undefined, "Bearer ", "Bearer guess", token(), `Bearer ${token()}x`]) {
      expect((await post({ name: "fifth" }, authorization)).status).toBe(403);
    }
    expect((await post({}, `Bearer ${token()}`)).status).toBe(400);
  });
});

describe("GET /sos-buckets-usage", () => {
  test("lists the organization's active buckets of all zones; one that is away leaves its own without a size", async () => {
    const env = { CONTROL: (await zones.d1("ch-dk-2", "CONTROL")) as unknown as D1Database };
    const create = async (name: string, organizationId: string, zone: string) => {
      const entry = await directory.claimName(env, { name, organizationId, zone, slots: 1 });
      await directory.setBucketState(env, entry, "creating", "active");
      return entry;
    };
    const here = await create("usage-here", main.id, "ch-dk-2");
    await create("usage-away", main.id, "at-vie-1");
    await create("usage-alt", alt.id, "ch-dk-2");
    await directory.claimName(env, { name: "usage-half", organizationId: main.id, zone: "ch-dk-2", slots: 1 });
    const time = new Date(here.createdAt).toISOString();
    const { status, body } = await call("GET", "/sos-buckets-usage");
    expect(status).toBe(200);
    expect(body["sos-buckets-usage"]).toEqual([
      { name: "usage-away", "zone-name": "at-vie-1", "created-at": expect.any(String) },
      { name: "usage-here", "zone-name": "ch-dk-2", size: here.bucketId * 10, "created-at": time },
    ]);
    const others = (await call("GET", "/sos-buckets-usage", undefined, alt)).body["sos-buckets-usage"];
    expect(others.map(({ name }: { name: string }) => name)).toEqual(["usage-alt"]);
  });
});
