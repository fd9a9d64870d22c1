import { describe, expect, test } from "vitest";
import { environment, type Handler, KEY, type Recorded, startStand, zonal } from "./stand.ts";

const ID = "6f00a21e-a535-4286-86c5-e81eeab3b4ff";
const POLICY = {
  "default-service-strategy": "deny",
  services: {
    sos: {
      type: "rules",
      rules: [
        { action: "allow", expression: "parameters.bucket == 'my-source' && operation == 'get-object'" },
        { action: "allow", expression: "operation.startsWith('put-object')", resources: ["a"] },
      ],
    },
    compute: { type: "deny" },
  },
};
const DESCRIPTION = "sos bucket replication between my-source and my-destination";

/** The control API with one role and one key, keeping what POST creates. */
function control(role: Record<string, unknown> = {}): Handler {
  const roles = [{ id: ID, name: "a-role", editable: true, policy: POLICY, ...role }];
  const done = (id: string) => json({ id: "op", state: "success", reference: { id } });
  return ({ method, path, body }: Recorded) => {
    const route = `${method} ${path.replace("/v2", "")}`;
    if (route === "GET /iam-role") return json({ "iam-roles": roles });
    if (route === "POST /iam-role") {
      const id = "00000000-0000-0000-0000-00000000000b";
      roles.push({ id, ...JSON.parse(body.toString()) });
      return done(id);
    }
    if (route === `PUT /iam-role/${ID}` || route === `PUT /iam-role/${ID}:policy`) return done(ID);
    if (route === `DELETE /iam-role/${ID}`) return done(ID);
    if (route === "GET /api-key") return json({ "api-keys": [{ name: "mine", key: KEY, "role-id": ID }] });
    if (route === "POST /api-key") return json({ ...JSON.parse(body.toString()), key: "EXOnew", secret: "s3cr3t" });
    return route === `DELETE /api-key/${KEY}` ? done(KEY) : undefined;
  };
}

function json(value: unknown) {
  return { headers: { "content-type": "application/json" }, body: JSON.stringify(value) };
}

describe("zonal iam role", () => {
  test("create takes its policy from standard input, as the walkthrough pipes it, and shows the role in a box", async () => {
    await using stand = await startStand(control());
    const args = [
      "--editable=true",
      "--description",
      DESCRIPTION,
      "--policy",
      "-",
      "replication-my-source-my-destination",
    ];
    const { code, stdout, stderr } = await zonal(["iam", "role", "create", ...args], {
      env: { ...environment(stand), ZONAL_TABLE: "box" },
      input: JSON.stringify(POLICY, null, 2),
    });
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toBe(`\
┼─────────────┼─────────────────────────────────────────────────────────────┼
│ ID          │ 00000000-0000-0000-0000-00000000000b                        │
│ Name        │ replication-my-source-my-destination                        │
│ Description │ sos bucket replication between my-source and my-destination │
│ Editable    │ true                                                        │
│ Labels      │ n/a                                                         │
│ Permissions │ n/a                                                         │
┼─────────────┼─────────────────────────────────────────────────────────────┼
`);
    expect(JSON.parse(stand.requests[0]!.body.toString())).toEqual({
      description: DESCRIPTION,
      editable: true,
      name: "replication-my-source-my-destination",
      policy: POLICY,
    });
  });

  test("create with labels, permissions and a frozen policy; quiet says nothing", async () => {
    await using stand = await startStand(control());
    const args = [
      "--label",
      "a=1,b=2=3",
      "--labels",
      "c=",
      "--permissions",
      "bypass-governance-retention",
      "--editable=false",
    ];
    const outcome = await zonal(["iam", "role", "create", "r", ...args, "-Q"], { env: environment(stand) });
    expect(outcome).toEqual({ code: 0, stdout: "", stderr: "" });
    expect(JSON.parse(stand.requests[0]!.body.toString())).toEqual({
      editable: false,
      labels: { a: "1", b: "2=3", c: "" },
      name: "r",
      permissions: ["bypass-governance-retention"],
    });
    expect(stand.requests).toHaveLength(1);
  });

  test("a policy that is no JSON is refused before anything is sent", async () => {
    await using stand = await startStand(control());
    const { code, stderr } = await zonal(["iam", "role", "create", "r", "--policy", "{"], { env: environment(stand) });
    expect(code).toBe(1);
    expect(stderr).toMatch(/^error: failed to parse IAM policy: /);
    expect(stand.requests).toHaveLength(0);
  });

  test("list and show, as tables, JSON and text", async () => {
    await using stand = await startStand(control({ labels: { k: "v" }, permissions: ["p", "q"], description: "d" }));
    const env = environment(stand);
    const out = async (...args: string[]) => (await zonal(["iam", "role", ...args], { env })).stdout;
    expect(await out("list")).toBe(`\
|                  ID                  |  NAME  | EDITABLE |
|--------------------------------------|--------|----------|
| ${ID} | a-role | true     |
`);
    expect(await out("list", "-O", "json")).toBe(`[{"key":"${ID}","name":"a-role","type":true}]\n`);
    expect(await out("show", "a-role", "-O", "json")).toBe(
      `{"id":"${ID}","name":"a-role","description":"d","editable":true,"labels":{"k":"v"},"permission":["p","q"]}\n`,
    );
    expect(await out("show", ID, "-O", "text")).toBe(`${ID}\ta-role\td\ttrue\tmap[k:v]\t[p q]`);
    expect(await out("get", ID)).toContain(
      "| Labels      | k:v                                  |\n| Permissions | p      ",
    );
  });

  test("show --policy prints what create --policy takes", async () => {
    await using stand = await startStand(control());
    const env = environment(stand);
    const asJson = await zonal(["iam", "role", "show", "--policy", "a-role", "-O", "json"], { env });
    expect(JSON.parse(asJson.stdout)).toEqual({
      ...POLICY,
      services: { ...POLICY.services, compute: { type: "deny", rules: [] } },
    });
    const asTable = await zonal(["iam", "role", "show", "--policy", "a-role"], { env: { ...env, ZONAL_TABLE: "box" } });
    const lines = asTable.stdout.split("\n");
    expect(lines[1]).toMatch(/^│ SERVICE │ TYPE \(DEFAULT STRATEGY "DENY"\) │ RULE ACTION │ +RULE EXPRESSION +│$/);
    expect(lines[3]).toMatch(/^│ sos {5}│ rules +│ allow {7}│ parameters\.bucket/);
    expect(lines[4]).toMatch(/^│ {9}│ {32}│ allow {7}│ operation\./);
    expect(lines[5]).toMatch(/^│ compute │ deny +│ {13}│ +│$/);
  });

  test("update sends what is given, the policy by itself", async () => {
    await using stand = await startStand(control());
    const args = ["a-role", "--description", "new", "--policy", JSON.stringify(POLICY)];
    expect(await zonal(["iam", "role", "update", ...args, "-Q"], { env: environment(stand) })).toMatchObject({
      code: 0,
    });
    expect(stand.log()).toEqual(["GET /v2/iam-role", `PUT /v2/iam-role/${ID}`, `PUT /v2/iam-role/${ID}:policy`]);
    expect(stand.requests[1]!.body.toString()).toBe('{"description":"new"}');
  });

  test("delete asks first, and only yes is a yes", async () => {
    await using stand = await startStand(control());
    const env = environment(stand);
    const no = await zonal(["iam", "role", "delete", "a-role"], { env, input: "\n" });
    expect(no).toEqual({ code: 0, stdout: `[+] Are you sure you want to delete IAM Role ${ID}? [yN]: `, stderr: "" });
    const nothing = await zonal(["iam", "role", "delete", "a-role"], { env, input: "" });
    expect(nothing.code).toBe(1);
    expect(stand.log()).not.toContain(`DELETE /v2/iam-role/${ID}`);
    await zonal(["iam", "role", "del", "a-role"], { env, input: "Yes\n" });
    expect(stand.log()).toContain(`DELETE /v2/iam-role/${ID}`);
  });

  test("an unknown role, and one that the API refuses", async () => {
    await using stand = await startStand(({ method }) =>
      method === "GET" ? json({ "iam-roles": [] }) : { status: 403, body: '{"message":"not yours"}' },
    );
    const env = environment(stand);
    const missing = await zonal(["iam", "role", "show", "x"], { env });
    expect(missing).toMatchObject({ code: 1, stdout: "", stderr: 'error: role "x" not found\n' });
    const refused = await zonal(["iam", "role", "create", "x"], { env });
    expect(refused).toMatchObject({ code: 1, stdout: "", stderr: "error: Forbidden: not yours\n" });
  });

  test("an operation that is pending is waited for, and one that fails is an error", async () => {
    let asked = 0;
    await using stand = await startStand(({ method, path }) => {
      if (method === "POST") return json({ id: "op", state: "pending" });
      if (path !== "/v2/operation/op") return undefined;
      asked++;
      return json({ id: "op", state: asked < 2 ? "pending" : "failure", message: "no luck" });
    });
    const outcome = await zonal(["iam", "role", "create", "x"], { env: environment(stand) });
    expect(outcome).toMatchObject({ code: 1, stderr: "error: operation op: failure: no luck\n" });
  });
});

describe("zonal iam api-key", () => {
  test("create shows the secret, even when quiet", async () => {
    await using stand = await startStand(control());
    const { stdout } = await zonal(["iam", "api-key", "create", "k", "a-role", "-Q"], { env: environment(stand) });
    expect(stdout).toBe(`\
| Name   | k                                    |
| Key    | EXOnew                               |
| Secret | s3cr3t                               |
| Role   | ${ID} |
`);
    expect(stand.log()).toEqual(["GET /v2/iam-role", "POST /v2/api-key"]);
  });

  test("list names the role, in JSON it gives its id alone", async () => {
    await using stand = await startStand(control());
    const env = environment(stand);
    expect((await zonal(["iam", "api-key", "ls"], { env })).stdout).toContain(`| mine | ${KEY} | a-role (${ID}) |`);
    expect((await zonal(["iam", "api-key", "ls", "-O", "json"], { env })).stdout).toBe(
      `[{"name":"mine","key":"${KEY}","role-id":"${ID}"}]\n`,
    );
  });

  test("delete takes the name or the key", async () => {
    await using stand = await startStand(control());
    const outcome = await zonal(["iam", "api-key", "delete", "-f", "mine"], { env: environment(stand) });
    expect(outcome).toEqual({ code: 0, stdout: "", stderr: "" });
    expect(stand.log()).toEqual(["GET /v2/api-key", `DELETE /v2/api-key/${KEY}`]);
  });
});
