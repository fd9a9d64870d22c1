import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startZones, type Zones } from "../harness.ts";
import { ALLOW_ALL, again, Caller, iamRules, nextName, REPLICATION, send } from "./client.ts";

let zones: Zones;
let main: Caller;
let alt: Caller;

beforeAll(async () => {
  zones = await startZones({ entry: "test/control/zone.ts" });
  main = new Caller(zones.api, zones.organizations.main);
  alt = new Caller(zones.api, zones.organizations.alt);
});

afterAll(() => zones?.stop());

const auditOf = async (resource: string) => {
  const control = await zones.d1("ch-dk-2", "CONTROL");
  const statement = control.prepare("SELECT * FROM audit WHERE resource = ?1 ORDER BY at, rowid");
  return (await statement.bind(resource).all<Record<string, string>>()).results;
};

describe("API keys", () => {
  test("CreateApiKey shows the secret once; the key works at once and is listed without it", async () => {
    const { id } = await main.makeRole();
    const { status, body } = await main.call("POST", "/api-key", { name: "backup", "role-id": id });
    expect(status).toBe(200);
    expect(body).toEqual({
      key: expect.stringMatching(/^EXO[0-9a-f]{24}$/),
      name: "backup",
      "role-id": id,
      secret: expect.stringMatching(/^[\w-]{43}$/),
    });
    expect((await new Caller(zones.api, body).call("GET", "/organization")).status).toBe(200);
    const shown = (await main.call("GET", `/api-key/${body.key}`)).body;
    expect(shown).toMatchObject({ key: body.key, name: "backup", "role-id": id });
    expect(shown).not.toHaveProperty("secret");
    const listed = (await main.call("GET", "/api-key")).body["api-keys"];
    expect(listed).toContainEqual(shown);
    expect(JSON.stringify(listed)).not.toContain(body.secret);
  });

  test("the secret rests sealed, and no audit row holds it", async () => {
    const { key, secret } = await main.makeKey((await main.makeRole()).id);
    const control = await zones.d1("ch-dk-2", "CONTROL");
    const row = await control.prepare("SELECT * FROM api_keys WHERE key = ?1").bind(key).first();
    expect(JSON.stringify([row, await auditOf(key)])).not.toContain(secret);
  });

  test("CreateApiKey sent again with the same signature answers the same key", async () => {
    const { id } = await main.makeRole();
    const request = main.sign("POST", "/api-key", { name: nextName("key"), "role-id": id });
    const first = await send(request);
    expect(await again(request)).toEqual(first);
  });

  test("CreateApiKey is Conflict for a taken name, 404 for an unknown role, 400 for a name like a key", async () => {
    const { id } = await main.makeRole();
    const { name, key } = await main.makeKey(id);
    const other = (await main.makeRole()).id;
    expect((await main.call("POST", "/api-key", { name, "role-id": other })).status).toBe(409);
    expect((await main.call("POST", "/api-key", { name: "k", "role-id": randomUUID() })).status).toBe(404);
    expect((await main.call("POST", "/api-key", { name: key, "role-id": id })).status).toBe(400);
    expect((await main.call("POST", "/api-key", { name: "k" })).status).toBe(400);
  });

  test("DeleteApiKey ends the key at once; sent again it still succeeds", async () => {
    const key = await main.makeKey((await main.makeRole()).id);
    const request = main.sign("DELETE", `/api-key/${key.key}`);
    const first = await send(request);
    expect(first).toMatchObject({ status: 200, body: { state: "success", reference: { id: key.key } } });
    expect(await again(request)).toEqual(first);
    expect((await key.caller.call("GET", "/organization")).status).toBe(403);
    expect((await main.call("DELETE", `/api-key/${key.key}`, {})).status).toBe(404);
  });
});

describe("A caller's policies", () => {
  test("allow operation by operation, with their parameters", async () => {
    const target = await main.makeRole();
    const { id } = await main.makeRole({
      policy: iamRules(
        { action: "deny", expression: "parameters.role_id == parameters.name" },
        { action: "allow", expression: "operation.matches('^(list-iam-roles|get-organization)$')" },
        { action: "allow", expression: `operation == 'create-api-key' && parameters.role_id == '${target.id}'` },
        { action: "allow", expression: `operation == 'delete-iam-role' && parameters.role_id == '${target.id}'` },
      ),
    });
    const { caller } = await main.makeKey(id);
    const statusOf = async (method: string, path: string, body?: unknown) =>
      (await caller.call(method, path, body)).status;
    expect(await statusOf("GET", "/iam-role")).toBe(200);
    expect(await statusOf("GET", "/organization")).toBe(200);
    expect(await statusOf("GET", "/api-key")).toBe(403);
    expect(await statusOf("POST", "/iam-role", { name: "mine" })).toBe(403);
    expect(await statusOf("POST", "/api-key", { name: "mine", "role-id": id })).toBe(403);
    expect(await statusOf("POST", "/api-key", { name: "ours", "role-id": target.id })).toBe(200);
    expect(await statusOf("GET", "/sos-buckets-usage")).toBe(403);
    // Access comes before existence: what may not be deleted and what isn't there answer alike.
    expect(await statusOf("DELETE", `/iam-role/${id}`)).toBe(403);
    expect(await statusOf("DELETE", `/iam-role/${randomUUID()}`)).toBe(403);
    expect(await statusOf("DELETE", `/iam-role/${target.id}`)).toBe(409);
  });

  test("of a role with sos alone and default deny allow no IAM", async () => {
    const { caller } = await main.makeKey((await main.makeRole({ policy: REPLICATION })).id);
    const { status, body } = await caller.call("GET", "/iam-role");
    expect({ status, body }).toEqual({ status: 403, body: { message: "Access Denied" } });
  });
});

describe("The organization's policy", () => {
  const denyAll = { "default-service-strategy": "deny", services: {} };
  const policyOf = async () => (await main.call("GET", "/iam-organization-policy")).body;

  test("stands above every role, and the owner can always reset it", async () => {
    expect(await policyOf()).toEqual(ALLOW_ALL);
    const update = await main.call("PUT", "/iam-organization-policy", denyAll);
    expect(update.body).toMatchObject({ state: "success", reference: { command: "get-iam-organization-policy" } });
    expect((await main.call("GET", "/iam-role")).status).toBe(403);
    expect((await main.call("PUT", "/iam-organization-policy", REPLICATION)).status).toBe(403);
    expect((await main.call("POST", "/iam-organization-policy:reset")).status).toBe(200);
    expect(await policyOf()).toEqual(ALLOW_ALL);
    // exo resets by the policy that allows everything
    await main.call("PUT", "/iam-organization-policy", denyAll);
    expect((await main.call("PUT", "/iam-organization-policy", ALLOW_ALL)).status).toBe(200);
    expect(await policyOf()).toEqual(ALLOW_ALL);
  });

  test("is reset by another role only with the permission and its own policy's leave", async () => {
    const reset = { action: "allow", expression: "operation == 'reset-iam-organization-policy'" };
    const permissions = ["reset-iam-organization-policy"];
    const statusFor = async (body: object) => {
      const { caller } = await main.makeKey((await main.makeRole(body)).id);
      await main.call("PUT", "/iam-organization-policy", denyAll);
      const { status } = await caller.call("POST", "/iam-organization-policy:reset");
      await main.call("POST", "/iam-organization-policy:reset");
      return status;
    };
    expect(await statusFor({ policy: iamRules(reset), permissions })).toBe(200);
    expect(await statusFor({ policy: iamRules(reset) })).toBe(403);
    expect(await statusFor({ policy: REPLICATION, permissions })).toBe(403);
  });
});

describe("Two organizations", () => {
  test("never see each other's roles, keys and operations", async () => {
    const role = await main.makeRole();
    const { key } = await main.makeKey(role.id);
    const { body: operation } = await main.call("PUT", `/iam-role/${role.id}`, { description: "mine" });
    const foreign = await alt.makeRole();
    expect(await alt.findRole(role.id)).toBeUndefined();
    expect(await main.findRole(foreign.id)).toBeUndefined();
    const keys = (await alt.call("GET", "/api-key")).body["api-keys"];
    expect(keys.map((shown: { name: string }) => shown.name)).toEqual(["owner"]);
    for (const [method, path, body] of [
      ["GET", `/iam-role/${role.id}`],
      ["PUT", `/iam-role/${role.id}`, { description: "theirs" }],
      ["PUT", `/iam-role/${role.id}`, {}],
      ["PUT", `/iam-role/${role.id}:policy`, ALLOW_ALL],
      ["DELETE", `/iam-role/${role.id}`],
      ["GET", `/api-key/${key}`],
      ["DELETE", `/api-key/${key}`],
      ["POST", "/api-key", { name: "theirs", "role-id": role.id }],
      ["GET", `/operation/${operation.id}`],
    ] as const) {
      expect([method, path, (await alt.call(method, path, body)).status]).toEqual([method, path, 404]);
    }
    expect(await main.findRole(role.id)).toMatchObject({ description: "mine" });
  });

  test("may use the same names", async () => {
    const name = nextName("role");
    expect((await main.makeRole({ name })).id).not.toBe((await alt.makeRole({ name })).id);
  });
});

describe("The audit", () => {
  test("holds one row for each change: who, what, from where; and none for what was refused", async () => {
    const { id, name } = await main.makeRole();
    const { body: operation } = await main.call("PUT", `/iam-role/${id}:policy`, REPLICATION);
    const { key } = await main.makeKey(id);
    await main.call("DELETE", `/iam-role/${id}`);
    await main.call("DELETE", `/api-key/${key}`);
    await main.call("DELETE", `/iam-role/${id}`, {});
    const rows = await auditOf(id);
    expect(rows.map((row) => row.operation)).toEqual(["create-iam-role", "update-iam-role-policy", "delete-iam-role"]);
    expect(rows[1]).toMatchObject({
      id: operation.id,
      access_key_id: zones.organizations.main.key,
      source_ip: "127.0.0.1",
    });
    expect(rows.map((row) => row.organization_id)).toEqual(rows.map(() => zones.organizations.main.id));
    expect(JSON.parse(rows[0]!.details!)).toMatchObject({ name });
    expect((await auditOf(key)).map((row) => row.operation)).toEqual(["create-api-key", "delete-api-key"]);
  });
});
