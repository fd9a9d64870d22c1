import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startZones, until, type Zones } from "../harness.ts";
import { type Answer, type SignedRequest, type Signer, send, sign } from "./client.ts";

let zones: Zones;
let main: Signer;
let alt: Signer;

beforeAll(async () => {
  zones = await startZones({ entry: "test/control/zone.ts" });
  ({ main, alt } = zones.organizations);
});

afterAll(() => zones?.stop());

const call = (method: string, path: string, body?: unknown, signer: Signer = main): Promise<Answer> =>
  send(sign(zones.api, signer, method, path, body));

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const ALLOW_ALL = { "default-service-strategy": "allow", services: {} };
/** As the walkthrough of bucket replication prints it. */
const REPLICATION = {
  "default-service-strategy": "deny",
  services: {
    sos: {
      type: "rules",
      rules: [
        { action: "allow", expression: "parameters.bucket == 'my-source' && operation == 'get-object'" },
        { action: "allow", expression: "parameters.bucket == 'my-destination' && operation.startsWith('put-object')" },
      ],
    },
  },
};

const iamRules = (...rules: { action: string; expression: string }[]) => ({
  "default-service-strategy": "deny",
  services: { iam: { type: "rules", rules } },
});

let made = 0;
async function makeRole(body: object = {}, signer: Signer = main): Promise<{ id: string; name: string }> {
  const name = `role-${++made}`;
  const { body: operation } = await call("POST", "/iam-role", { editable: true, name, ...body }, signer);
  return { id: operation.reference.id, name };
}

async function makeKey(roleId: string, signer: Signer = main): Promise<Signer & { name: string }> {
  const { body } = await call("POST", "/api-key", { name: `key-${++made}`, "role-id": roleId }, signer);
  return body;
}

/** The answer of a request that is sent again when its client's second of patience is over. */
const again = (request: SignedRequest): Promise<Answer> =>
  until(async () => {
    const answer = await send(request);
    return answer.status === 200 && answer;
  });

const findRole = async (id: string, signer: Signer = main) => {
  const { body } = await call("GET", "/iam-role", undefined, signer);
  return body["iam-roles"].find((role: { id: string }) => role.id === id);
};

const auditOf = async (resource: string) => {
  const control = await zones.d1("ch-dk-2", "CONTROL");
  const statement = control.prepare("SELECT * FROM audit WHERE resource = ?1 ORDER BY at, rowid");
  return (await statement.bind(resource).all<Record<string, string>>()).results;
};

describe("CreateIamRole", () => {
  test("answers a successful Operation that names the role, which the list then holds with its policy", async () => {
    const description = "sos bucket replication between my-source and my-destination";
    const { status, body } = await call("POST", "/iam-role", {
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
    expect(await findRole(id)).toEqual(role);
    expect((await call("GET", `/iam-role/${id}`)).body).toEqual(role);
    expect((await call("GET", `/operation/${body.id}`)).body).toEqual(body);
  });

  test("without a policy makes a role that may do everything, and shows a policy that says so", async () => {
    const { id } = await makeRole();
    expect(await findRole(id)).toMatchObject({ description: "", policy: ALLOW_ALL });
  });

  test("keeps labels, permissions, session length and assume-role policy", async () => {
    const rest = {
      labels: { team: "storage" },
      permissions: ["bypass-governance-retention"],
      "max-session-ttl": 3600,
      "assume-role-policy": { rules: [{ action: "allow", expression: "true" }] },
    };
    const { id } = await makeRole({ ...rest, editable: false });
    expect(await findRole(id)).toMatchObject({ ...rest, editable: false });
  });

  test("takes the escapes that Go writes in JSON", async () => {
    const name = `role-${++made}`;
    const expression = "'a' < 'b' && operation == 'get-object'";
    const policy = iamRules({ action: "allow", expression });
    const text = JSON.stringify({ name, policy }).replaceAll("<", "\\u003c").replaceAll("&", "\\u0026");
    const { body } = await send(sign(zones.api, main, "POST", "/iam-role", undefined, text));
    expect((await findRole(body.reference.id)).policy.services.iam.rules[0].expression).toBe(expression);
  });

  test("is Conflict for a name that is taken", async () => {
    const { name } = await makeRole();
    const { status, body } = await call("POST", "/iam-role", { name, editable: false });
    expect({ status, body }).toEqual({ status: 409, body: { message: `an IAM role named '${name}' exists` } });
  });

  test("sent again after a second, because its answer was lost, answers the same Operation", async () => {
    const request = sign(zones.api, main, "POST", "/iam-role", { name: `role-${++made}`, editable: true });
    const first = await send(request);
    expect(await again(request)).toEqual(first);
    await call("DELETE", `/iam-role/${first.body.reference.id}`);
    const third = await send(request);
    expect(third.status).toBe(200);
    expect(third.body.reference.id).not.toBe(first.body.reference.id);
  });

  test("asked for twice within a second, which gives the same signature, is Conflict", async () => {
    const request = sign(zones.api, main, "POST", "/iam-role", { name: `role-${++made}`, editable: true });
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
    const answer = await call("POST", "/iam-role", body);
    expect(answer).toEqual({ status: 400, body: { message: expect.stringMatching(message) } });
  });
});

describe("UpdateIamRole", () => {
  test("changes what is given and keeps the rest", async () => {
    const { id, name } = await makeRole({ description: "before", labels: { a: "1" }, policy: REPLICATION });
    expect((await call("PUT", `/iam-role/${id}`, { description: "after" })).body.state).toBe("success");
    expect(await findRole(id)).toMatchObject({ name, description: "after", labels: { a: "1" }, policy: REPLICATION });
  });

  test("of nothing succeeds for every role and changes nothing, as exo sends it before a policy", async () => {
    const frozen = await makeRole({ editable: false, policy: REPLICATION });
    const roles = (await call("GET", "/iam-role")).body["iam-roles"];
    const ownerId = roles.find((role: { name: string }) => role.name === "Owner").id;
    for (const id of [frozen.id, ownerId]) {
      const before = await findRole(id);
      expect(await call("PUT", `/iam-role/${id}`, {})).toMatchObject({ status: 200, body: { reference: { id } } });
      expect(await findRole(id)).toEqual(before);
    }
  });

  test("refuses name, editable and policy, which it doesn't change", async () => {
    const { id } = await makeRole();
    for (const body of [{ name: "other" }, { editable: false }, { policy: ALLOW_ALL }]) {
      expect((await call("PUT", `/iam-role/${id}`, body)).status).toBe(400);
    }
  });
});

describe("UpdateIamRolePolicy", () => {
  test("replaces the policy", async () => {
    const { id } = await makeRole();
    const { body } = await call("PUT", `/iam-role/${id}:policy`, REPLICATION);
    expect(body).toMatchObject({ state: "success", reference: { id } });
    expect((await findRole(id)).policy).toEqual(REPLICATION);
  });

  test("is refused for a role that isn't editable", async () => {
    const { id, name } = await makeRole({ editable: false });
    const { status, body } = await call("PUT", `/iam-role/${id}:policy`, REPLICATION);
    expect({ status, body }).toEqual({
      status: 403,
      body: { message: `the policy of IAM role '${name}' can't be edited` },
    });
    expect((await findRole(id)).policy).toEqual(ALLOW_ALL);
  });

  test("keeps the policy that was there when the new one is wrong", async () => {
    const { id } = await makeRole({ policy: REPLICATION });
    const wrong = iamRules({ action: "allow", expression: "operation = 'x'" });
    expect(await call("PUT", `/iam-role/${id}:policy`, wrong)).toMatchObject({ status: 400 });
    expect((await findRole(id)).policy).toEqual(REPLICATION);
  });
});

describe("DeleteIamRole", () => {
  test("removes the role; sent again it still succeeds, another deletion is 404", async () => {
    const { id } = await makeRole();
    const request = sign(zones.api, main, "DELETE", `/iam-role/${id}`);
    const first = await send(request);
    expect(first).toMatchObject({ status: 200, body: { state: "success", reference: { id } } });
    expect(await again(request)).toEqual(first);
    expect(await findRole(id)).toBeUndefined();
    expect((await call("DELETE", `/iam-role/${id}`, {})).status).toBe(404);
  });

  test("is Conflict, naming the key, while an API key holds the role", async () => {
    const { id } = await makeRole();
    const { key, name } = await makeKey(id);
    const refused = await call("DELETE", `/iam-role/${id}`);
    expect(refused.status).toBe(409);
    expect(refused.body.message).toContain(`API key '${name}' (${key})`);
    await call("DELETE", `/api-key/${key}`);
    expect((await call("DELETE", `/iam-role/${id}`, {})).status).toBe(200);
  });

  test("a key that is made at the same time holds the role, or the role is gone and the key is 404", async () => {
    for (let round = 0; round < 5; round++) {
      const { id } = await makeRole();
      const create = call("POST", "/api-key", { name: `key-${++made}`, "role-id": id });
      const [created, deleted] = await Promise.all([create, call("DELETE", `/iam-role/${id}`)]);
      expect([`${created.status} ${deleted.status}`]).toEqual([expect.stringMatching(/^(200 409|404 200)$/)]);
    }
  });
});

describe("The Owner role", () => {
  test("is there from the start, can't be edited, taken over or deleted", async () => {
    const { body } = await call("GET", "/iam-role");
    const owner = body["iam-roles"].find(({ name }: { name: string }) => name === "Owner");
    expect(owner).toMatchObject({ editable: false, policy: ALLOW_ALL });
    expect((await call("PUT", `/iam-role/${owner.id}`, { description: "mine" })).status).toBe(403);
    expect((await call("PUT", `/iam-role/${owner.id}:policy`, REPLICATION)).status).toBe(403);
    expect((await call("DELETE", `/iam-role/${owner.id}`)).status).toBe(403);
    expect((await call("POST", "/iam-role", { name: "Owner" })).status).toBe(409);
    expect(await findRole(owner.id)).toEqual(owner);
  });
});

describe("API keys", () => {
  test("CreateApiKey shows the secret once; the key works at once and is listed without it", async () => {
    const { id } = await makeRole();
    const { status, body } = await call("POST", "/api-key", { name: "backup", "role-id": id });
    expect(status).toBe(200);
    expect(body).toEqual({
      key: expect.stringMatching(/^EXO[0-9a-f]{24}$/),
      name: "backup",
      "role-id": id,
      secret: expect.stringMatching(/^[\w-]{43}$/),
    });
    expect((await call("GET", "/organization", undefined, body)).status).toBe(200);
    const shown = (await call("GET", `/api-key/${body.key}`)).body;
    expect(shown).toMatchObject({ key: body.key, name: "backup", "role-id": id });
    expect(shown).not.toHaveProperty("secret");
    const listed = (await call("GET", "/api-key")).body["api-keys"];
    expect(listed).toContainEqual(shown);
    expect(JSON.stringify(listed)).not.toContain(body.secret);
  });

  test("the secret rests sealed, and no audit row holds it", async () => {
    const { key, secret } = await makeKey((await makeRole()).id);
    const control = await zones.d1("ch-dk-2", "CONTROL");
    const row = await control.prepare("SELECT * FROM api_keys WHERE key = ?1").bind(key).first();
    expect(JSON.stringify([row, await auditOf(key)])).not.toContain(secret);
  });

  test("CreateApiKey sent again with the same signature answers the same key", async () => {
    const { id } = await makeRole();
    const request = sign(zones.api, main, "POST", "/api-key", { name: `key-${++made}`, "role-id": id });
    const first = await send(request);
    expect(await again(request)).toEqual(first);
  });

  test("CreateApiKey is Conflict for a taken name, 404 for an unknown role, 400 for a name like a key", async () => {
    const { id } = await makeRole();
    const { name, key } = await makeKey(id);
    const other = (await makeRole()).id;
    expect((await call("POST", "/api-key", { name, "role-id": other })).status).toBe(409);
    expect((await call("POST", "/api-key", { name: "k", "role-id": randomUUID() })).status).toBe(404);
    expect((await call("POST", "/api-key", { name: key, "role-id": id })).status).toBe(400);
    expect((await call("POST", "/api-key", { name: "k" })).status).toBe(400);
  });

  test("DeleteApiKey ends the key at once; sent again it still succeeds", async () => {
    const key = await makeKey((await makeRole()).id);
    const request = sign(zones.api, main, "DELETE", `/api-key/${key.key}`);
    const first = await send(request);
    expect(first).toMatchObject({ status: 200, body: { state: "success", reference: { id: key.key } } });
    expect(await again(request)).toEqual(first);
    expect((await call("GET", "/organization", undefined, key)).status).toBe(403);
    expect((await call("DELETE", `/api-key/${key.key}`, {})).status).toBe(404);
  });
});

describe("A caller's policies", () => {
  test("allow operation by operation, with their parameters", async () => {
    const target = await makeRole();
    const { id } = await makeRole({
      policy: iamRules(
        { action: "deny", expression: "parameters.role_id == parameters.name" },
        { action: "allow", expression: "operation.matches('^(list-iam-roles|get-organization)$')" },
        { action: "allow", expression: `operation == 'create-api-key' && parameters.role_id == '${target.id}'` },
        { action: "allow", expression: `operation == 'delete-iam-role' && parameters.role_id == '${target.id}'` },
      ),
    });
    const key = await makeKey(id);
    const statusOf = async (method: string, path: string, body?: unknown) =>
      (await call(method, path, body, key)).status;
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
    const key = await makeKey((await makeRole({ policy: REPLICATION })).id);
    const { status, body } = await call("GET", "/iam-role", undefined, key);
    expect({ status, body }).toEqual({ status: 403, body: { message: "Access Denied" } });
  });
});

describe("The organization's policy", () => {
  const denyAll = { "default-service-strategy": "deny", services: {} };
  const policyOf = async () => (await call("GET", "/iam-organization-policy")).body;

  test("stands above every role, and the owner can always reset it", async () => {
    expect(await policyOf()).toEqual(ALLOW_ALL);
    const update = await call("PUT", "/iam-organization-policy", denyAll);
    expect(update.body).toMatchObject({ state: "success", reference: { command: "get-iam-organization-policy" } });
    expect((await call("GET", "/iam-role")).status).toBe(403);
    expect((await call("PUT", "/iam-organization-policy", REPLICATION)).status).toBe(403);
    expect((await call("POST", "/iam-organization-policy:reset")).status).toBe(200);
    expect(await policyOf()).toEqual(ALLOW_ALL);
    // exo resets by the policy that allows everything
    await call("PUT", "/iam-organization-policy", denyAll);
    expect((await call("PUT", "/iam-organization-policy", ALLOW_ALL)).status).toBe(200);
    expect(await policyOf()).toEqual(ALLOW_ALL);
  });

  test("is reset by another role only with the permission and its own policy's leave", async () => {
    const reset = { action: "allow", expression: "operation == 'reset-iam-organization-policy'" };
    const permissions = ["reset-iam-organization-policy"];
    const statusFor = async (body: object) => {
      const key = await makeKey((await makeRole(body)).id);
      await call("PUT", "/iam-organization-policy", denyAll);
      const { status } = await call("POST", "/iam-organization-policy:reset", undefined, key);
      await call("POST", "/iam-organization-policy:reset");
      return status;
    };
    expect(await statusFor({ policy: iamRules(reset), permissions })).toBe(200);
    expect(await statusFor({ policy: iamRules(reset) })).toBe(403);
    expect(await statusFor({ policy: REPLICATION, permissions })).toBe(403);
  });
});

describe("Two organizations", () => {
  test("never see each other's roles, keys and operations", async () => {
    const role = await makeRole();
    const { key } = await makeKey(role.id);
    const { body: operation } = await call("PUT", `/iam-role/${role.id}`, { description: "mine" });
    const foreign = await makeRole({}, alt);
    expect(await findRole(role.id, alt)).toBeUndefined();
    expect(await findRole(foreign.id)).toBeUndefined();
    const keys = (await call("GET", "/api-key", undefined, alt)).body["api-keys"];
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
      expect([method, path, (await call(method, path, body, alt)).status]).toEqual([method, path, 404]);
    }
    expect(await findRole(role.id)).toMatchObject({ description: "mine" });
  });

  test("may use the same names", async () => {
    const name = `role-${++made}`;
    expect((await makeRole({ name })).id).not.toBe((await makeRole({ name }, alt)).id);
  });
});

describe("The audit", () => {
  test("holds one row for each change: who, what, from where; and none for what was refused", async () => {
    const { id, name } = await makeRole();
    const { body: operation } = await call("PUT", `/iam-role/${id}:policy`, REPLICATION);
    const { key } = await makeKey(id);
    await call("DELETE", `/iam-role/${id}`);
    await call("DELETE", `/api-key/${key}`);
    await call("DELETE", `/iam-role/${id}`, {});
    const rows = await auditOf(id);
    expect(rows.map((row) => row.operation)).toEqual(["create-iam-role", "update-iam-role-policy", "delete-iam-role"]);
    expect(rows[1]).toMatchObject({ id: operation.id, access_key_id: main.key, source_ip: "127.0.0.1" });
    expect(rows.map((row) => row.organization_id)).toEqual(rows.map(() => zones.organizations.main.id));
    expect(JSON.parse(rows[0]!.details!)).toMatchObject({ name });
    expect((await auditOf(key)).map((row) => row.operation)).toEqual(["create-api-key", "delete-api-key"]);
  });
});
