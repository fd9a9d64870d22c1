import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startZones, type Zones } from "../harness.ts";
import { ALLOW_ALL, again, Caller, iamRules, nextName, REPLICATION, send } from "./client.ts";

let zones: Zones;
let main: Caller;

beforeAll(async () => {
  zones = await startZones({ entry: "test/control/zone.ts" });
  main = new Caller(zones.api, zones.organizations.main);
});

afterAll(() => zones?.stop());

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

describe("CreateIamRole", () => {
  test("answers a successful Operation that names the role, which the list then holds with its policy", async () => {
    const description = "sos bucket replication between my-source and my-destination";
    const { status, body } = await main.call("POST", "/iam-role", {
      description,
      editable: true,
      name: "replication-my-source-my-destination",
      policy: REPLICATION,
    });
    expect(status).toBe(200);
    expect(body).toMatchObject({ id: expect.stringMatching(UUID), state: "success" });
    const { id } = body.reference;
    expect(body.reference).toEqual({ id, link: `/v2/iam-role/${id}`, command: "get-iam-role" });
    const role = { id, name: "replication-my-source-my-destination", description, editable: true, policy: REPLICATION };
    expect(await main.findRole(id)).toEqual(role);
    expect((await main.call("GET", `/iam-role/${id}`)).body).toEqual(role);
    expect((await main.call("GET", `/operation/${body.id}`)).body).toEqual(body);
  });

  test("without a policy makes a role that may do everything, and shows a policy that says so", async () => {
    const { id } = await main.makeRole();
    expect(await main.findRole(id)).toMatchObject({ description: "", policy: ALLOW_ALL });
  });

  test("keeps labels, permissions, session length and assume-role policy", async () => {
    const rest = {
      labels: { team: "storage" },
      permissions: ["bypass-governance-retention"],
      "max-session-ttl": 3600,
      "assume-role-policy": { rules: [{ action: "allow", expression: "true" }] },
    };
    const { id } = await main.makeRole({ ...rest, editable: false });
    expect(await main.findRole(id)).toMatchObject({ ...rest, editable: false });
  });

  test("takes the escapes that Go writes in JSON", async () => {
    const name = nextName("role");
    const expression = "'a' < 'b' && operation == 'get-object'";
    const policy = iamRules({ action: "allow", expression });
    const text = JSON.stringify({ name, policy }).replaceAll("<", "\\u003c").replaceAll("&", "\\u0026");
    const { body } = await send(main.sign("POST", "/iam-role", undefined, text));
    expect((await main.findRole(body.reference.id)).policy.services.iam.rules[0].expression).toBe(expression);
  });

  test("is Conflict for a name that is taken", async () => {
    const { name } = await main.makeRole();
    const { status, body } = await main.call("POST", "/iam-role", { name, editable: false });
    expect({ status, body }).toEqual({ status: 409, body: { message: `an IAM role named '${name}' exists` } });
  });

  test("sent again after a second, because its answer was lost, answers the same Operation", async () => {
    const request = main.sign("POST", "/iam-role", { name: nextName("role"), editable: true });
    const first = await send(request);
    expect(await again(request)).toEqual(first);
    await main.call("DELETE", `/iam-role/${first.body.reference.id}`);
    const third = await send(request);
    expect(third.status).toBe(200);
    expect(third.body.reference.id).not.toBe(first.body.reference.id);
  });

  test("asked for twice within a second, which gives the same signature, is Conflict", async () => {
    const request = main.sign("POST", "/iam-role", { name: nextName("role"), editable: true });
    await send(request);
    expect((await send(request)).status).toBe(409);
  });

  const rule = { action: "allow", expression: "true && bucket == 'x'" };
  test.each<[string, object, RegExp]>([
    ["no name", { editable: true }, /'name' is missing/],
    ["an empty name", { name: "" }, /1 to 191/],
    ["a name of 192 characters", { name: "x".repeat(192) }, /1 to 191/],
    ["a name of another type", { name: 7 }, /1 to 191/],
    ["a name that looks like an id", { name: randomUUID() }, /look like an id/],
    ["a long description", { name: "n", description: "x".repeat(256) }, /'description'/],
    ["an odd editable", { name: "n", editable: "yes" }, /'editable'/],
    ["odd labels", { name: "n", labels: { a: 1 } }, /'labels'/],
    ["an unknown permission", { name: "n", permissions: ["root"] }, /'permissions'/],
    [
      "a permission twice",
      { name: "n", permissions: ["bypass-governance-retention", "bypass-governance-retention"] },
      /'perm/,
    ],
    ["no session at all", { name: "n", "max-session-ttl": 0 }, /'max-session-ttl'/],
    ["an unknown field", { name: "n", polcy: REPLICATION }, /unknown field 'polcy'/],
    ["a policy without strategy", { name: "n", policy: { "default-service-strategy": "", services: {} } }, /strategy/],
    ["an unknown variable", { name: "n", policy: iamRules(rule) }, /service 'iam', rule 1, column 9/],
  ])("is refused with a message: %s", async (_, body, message) => {
    const answer = await main.call("POST", "/iam-role", body);
    expect(answer).toEqual({ status: 400, body: { message: expect.stringMatching(message) } });
  });
});

describe("UpdateIamRole", () => {
  test("changes what is given and keeps the rest", async () => {
    const { id, name } = await main.makeRole({ description: "before", labels: { a: "1" }, policy: REPLICATION });
    expect((await main.call("PUT", `/iam-role/${id}`, { description: "after" })).body.state).toBe("success");
    expect(await main.findRole(id)).toMatchObject({
      name,
      description: "after",
      labels: { a: "1" },
      policy: REPLICATION,
    });
  });

  test("of nothing succeeds for every role and changes nothing, as exo sends it before a policy", async () => {
    const frozen = await main.makeRole({ editable: false, policy: REPLICATION });
    const roles = (await main.call("GET", "/iam-role")).body["iam-roles"];
    const ownerId = roles.find((role: { name: string }) => role.name === "Owner").id;
    for (const id of [frozen.id, ownerId]) {
      const before = await main.findRole(id);
      expect(await main.call("PUT", `/iam-role/${id}`, {})).toMatchObject({ status: 200, body: { reference: { id } } });
      expect(await main.findRole(id)).toEqual(before);
    }
  });

  test("refuses name, editable and policy, which it doesn't change", async () => {
    const { id } = await main.makeRole();
    for (const body of [{ name: "other" }, { editable: false }, { policy: ALLOW_ALL }]) {
      expect((await main.call("PUT", `/iam-role/${id}`, body)).status).toBe(400);
    }
  });
});

describe("UpdateIamRolePolicy", () => {
  test("replaces the policy", async () => {
    const { id } = await main.makeRole();
    const { body } = await main.call("PUT", `/iam-role/${id}:policy`, REPLICATION);
    expect(body).toMatchObject({ state: "success", reference: { id } });
    expect((await main.findRole(id)).policy).toEqual(REPLICATION);
  });

  test("is refused for a role that isn't editable", async () => {
    const { id, name } = await main.makeRole({ editable: false });
    const { status, body } = await main.call("PUT", `/iam-role/${id}:policy`, REPLICATION);
    expect({ status, body }).toEqual({
      status: 403,
      body: { message: `the policy of IAM role '${name}' can't be edited` },
    });
    expect((await main.findRole(id)).policy).toEqual(ALLOW_ALL);
  });

  test("keeps the policy that was there when the new one is wrong", async () => {
    const { id } = await main.makeRole({ policy: REPLICATION });
    const wrong = iamRules({ action: "allow", expression: "operation = 'x'" });
    expect(await main.call("PUT", `/iam-role/${id}:policy`, wrong)).toMatchObject({ status: 400 });
    expect((await main.findRole(id)).policy).toEqual(REPLICATION);
  });
});

describe("DeleteIamRole", () => {
  test("removes the role; sent again it still succeeds, another deletion is 404", async () => {
    const { id } = await main.makeRole();
    const request = main.sign("DELETE", `/iam-role/${id}`);
    const first = await send(request);
    expect(first).toMatchObject({ status: 200, body: { state: "success", reference: { id } } });
    expect(await again(request)).toEqual(first);
    expect(await main.findRole(id)).toBeUndefined();
    expect((await main.call("DELETE", `/iam-role/${id}`, {})).status).toBe(404);
  });

  test("is Conflict, naming the key, while an API key holds the role", async () => {
    const { id } = await main.makeRole();
    const { key, name } = await main.makeKey(id);
    const refused = await main.call("DELETE", `/iam-role/${id}`);
    expect(refused.status).toBe(409);
    expect(refused.body.message).toContain(`API key '${name}' (${key})`);
    await main.call("DELETE", `/api-key/${key}`);
    expect((await main.call("DELETE", `/iam-role/${id}`, {})).status).toBe(200);
  });

  test("a key that is made at the same time holds the role, or the role is gone and the key is 404", async () => {
    for (let round = 0; round < 5; round++) {
      const { id } = await main.makeRole();
      const create = main.call("POST", "/api-key", { name: nextName("key"), "role-id": id });
      const [created, deleted] = await Promise.all([create, main.call("DELETE", `/iam-role/${id}`)]);
      expect([`${created.status} ${deleted.status}`]).toEqual([expect.stringMatching(/^(200 409|404 200)$/)]);
    }
  });
});

describe("The Owner role", () => {
  test("is there from the start, can't be edited, taken over or deleted", async () => {
    const { body } = await main.call("GET", "/iam-role");
    const owner = body["iam-roles"].find(({ name }: { name: string }) => name === "Owner");
    expect(owner).toMatchObject({ editable: false, policy: ALLOW_ALL });
    expect((await main.call("PUT", `/iam-role/${owner.id}`, { description: "mine" })).status).toBe(403);
    expect((await main.call("PUT", `/iam-role/${owner.id}:policy`, REPLICATION)).status).toBe(403);
    expect((await main.call("DELETE", `/iam-role/${owner.id}`)).status).toBe(403);
    expect((await main.call("POST", "/iam-role", { name: "Owner" })).status).toBe(409);
    expect(await main.findRole(owner.id)).toEqual(owner);
  });
});
