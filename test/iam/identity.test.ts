import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import type { Actor } from "../../src/iam/audit.ts";
import { assumeRole, authorize, getRole, identify, isAllowed, roleRevision } from "../../src/iam/identity.ts";
import { createKey, deleteKey, getKey, noteUse } from "../../src/iam/keys.ts";
import { createOrganization, putOrganizationPolicy } from "../../src/iam/organizations.ts";
import type { Policy } from "../../src/iam/policy.ts";
import { createRole, deleteRole, listRoles, putRolePolicy, updateRole } from "../../src/iam/roles.ts";
import { openSession } from "../../src/iam/sessions.ts";
import { startZones, type Zones } from "../harness.ts";

type IamEnv = Pick<Env, "CONTROL" | "ROOT_KEY">;

let zones: Zones;
let env: IamEnv;
/** the same with the control database out of reach */
let away: IamEnv;
let organization: string;
let owner: { key: string; secret: string };
let other: string;

const SECOND = 1000;
const MINUTE = 60 * SECOND;

beforeAll(async () => {
  zones = await startZones({ entry: "test/control/zone.ts" });
  const control = (await zones.d1("ch-dk-2", "CONTROL")) as unknown as D1Database;
  env = { CONTROL: control, ROOT_KEY: randomBytes(32).toString("base64") };
  const broken = { prepare: () => ({ bind: () => ({ first: () => Promise.reject(new Error("D1_ERROR: away")) }) }) };
  away = { ...env, CONTROL: broken as unknown as D1Database };
  const created = await createOrganization(env, "identity", "127.0.0.1");
  organization = created.id;
  owner = created;
  other = (await createOrganization(env, "identity-other", "127.0.0.1")).id;
});

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["Date"] });
  return () => vi.useRealTimers();
});

afterAll(() => zones?.stop());

const actor = (): Actor => ({
  organizationId: organization,
  accessKeyId: owner.key,
  sourceIp: "127.0.0.1",
  request: null,
});
const pass = (milliseconds: number) => vi.setSystemTime(Date.now() + milliseconds);

const policy = (expression: string, strategy: "allow" | "deny" = "deny"): Policy => ({
  "default-service-strategy": strategy,
  services: { sos: { type: "rules", rules: [{ action: "allow", expression }] } },
});

let made = 0;
async function makeRole(rolePolicy: Policy | null = null): Promise<string> {
  const role = { name: `role-${++made}`, editable: true, policy: rolePolicy };
  return (await createRole(env, actor(), role)).resource;
}

async function makeKey(roleId: string): Promise<{ key: string; secret: string }> {
  return await createKey(env, actor(), { name: `key-${++made}`, roleId });
}

const asked = (operation: string, parameters: Record<string, unknown> = {}) => ({
  service: "sos" as const,
  operation,
  parameters,
  zone: "ch-dk-2",
  sourceIp: "192.0.2.7",
});

describe("identify", () => {
  test("gives organization, role, policies and secret of a key", async () => {
    const { identity, secret } = await identify(env, owner.key, undefined);
    expect(secret).toBe(owner.secret);
    expect(identity).toMatchObject({
      organization: { id: organization, name: "identity" },
      accessKeyId: owner.key,
      role: { name: "Owner", organizationId: organization, policy: null, isOwner: true },
      organizationPolicy: null,
    });
    expect(identity).not.toHaveProperty("replication");
  });

  test("is InvalidAccessKeyId for a key that isn't there, and remembers that for 5 s", async () => {
    const unknown = `EXO${"0".repeat(24)}`;
    await expect(identify(env, unknown, undefined)).rejects.toMatchObject({ code: "InvalidAccessKeyId" });
    await expect(identify(away, unknown, undefined)).rejects.toMatchObject({ code: "InvalidAccessKeyId" });
    pass(5 * SECOND);
    await expect(identify(away, unknown, undefined)).rejects.toMatchObject({ code: "SlowDown" });
  });

  test("sees a key revoked and a policy changed within 20 s, or at once when asked for it", async () => {
    const role = await makeRole(policy("operation == 'get-object'"));
    const { key } = await makeKey(role);
    await identify(env, key, undefined);
    await putRolePolicy(env, actor(), role, policy("operation == 'put-object'"));
    expect(isAllowed((await identify(env, key, undefined)).identity, asked("get-object"))).toBe(true);
    const fresh = await identify(env, key, undefined, { fresh: true });
    expect(isAllowed(fresh.identity, asked("get-object"))).toBe(false);
    await deleteKey(env, actor(), key);
    await expect(identify(env, key, undefined)).resolves.toBeDefined();
    pass(20 * SECOND);
    await expect(identify(env, key, undefined)).rejects.toMatchObject({ code: "InvalidAccessKeyId" });
  });

  test.each([
    ["1", 1],
    ["0", 0],
    ["soon", 20],
    [undefined, 20],
  ])("keeps what it knows for IAM_CACHE_SECONDS, 20 without a number: %s", async (given, seconds) => {
    vi.resetModules();
    const isolate = await import("../../src/iam/identity.ts");
    const configured = { ...env, IAM_CACHE_SECONDS: given };
    const { key } = await makeKey(await makeRole());
    await isolate.identify(configured, key, undefined);
    await deleteKey(env, actor(), key);
    if (seconds > 0) {
      pass(seconds * SECOND - 1);
      await expect(isolate.identify(configured, key, undefined)).resolves.toBeDefined();
      pass(1);
    }
    await expect(isolate.identify(configured, key, undefined)).rejects.toMatchObject({ code: "InvalidAccessKeyId" });
  });

  test("without the control database uses what it knew for 15 minutes, then SlowDown", async () => {
    const { key, secret } = await makeKey(await makeRole());
    await expect(identify(away, key, undefined)).rejects.toMatchObject({ code: "SlowDown", status: 503 });
    await identify(env, key, undefined);
    pass(14 * MINUTE);
    await expect(identify(away, key, undefined)).resolves.toMatchObject({ secret });
    pass(MINUTE);
    await expect(identify(away, key, undefined)).rejects.toMatchObject({ code: "SlowDown" });
  });

  test("is ExpiredToken for a temporary key whose time is over, cached or not", async () => {
    const { key } = await makeKey(await makeRole());
    const expiry = env.CONTROL.prepare("UPDATE api_keys SET expires_at = ?2 WHERE key = ?1");
    await expiry.bind(key, Date.now() + 10 * SECOND).run();
    await expect(identify(env, key, undefined)).resolves.toBeDefined();
    pass(10 * SECOND);
    await expect(identify(env, key, undefined)).rejects.toMatchObject({ code: "ExpiredToken" });
  });

  test("fails loudly when ROOT_KEY is not the one that sealed the secret", async () => {
    const { key } = await makeKey(await makeRole());
    const foreign = { ...env, ROOT_KEY: randomBytes(32).toString("base64") };
    await expect(identify(foreign, key, undefined)).rejects.toThrow("neither ROOT_KEY nor ROOT_KEY_PREVIOUS");
  });
});

describe("identify of a session", () => {
  const replication = { sourceBucketId: 1, destinationBucketId: 2 };

  test("gives the role as it is now, and the sealed claims", async () => {
    const roleId = await makeRole(policy("operation == 'get-object'"));
    const session = await openSession(env, { roleId, organizationId: organization, ttlSeconds: 900, replication });
    const { identity, secret } = await identify(env, session.accessKeyId, session.sessionToken);
    expect(secret).toBe(session.secretAccessKey);
    expect(identity).toMatchObject({ role: { id: roleId }, organization: { id: organization }, replication });
    expect(isAllowed(identity, asked("get-object"))).toBe(true);
    expect(isAllowed(identity, asked("put-object"))).toBe(false);
  });

  test("is InvalidToken when the role is gone, or is another organization's", async () => {
    const roleId = await makeRole();
    const [mine, foreign] = await Promise.all(
      [organization, other].map((id) => openSession(env, { roleId, organizationId: id, ttlSeconds: 900 })),
    );
    await expect(identify(env, foreign!.accessKeyId, foreign!.sessionToken)).rejects.toMatchObject({
      code: "InvalidToken",
    });
    await identify(env, mine!.accessKeyId, mine!.sessionToken);
    await deleteRole(env, actor(), roleId);
    pass(20 * SECOND);
    await expect(identify(env, mine!.accessKeyId, mine!.sessionToken)).rejects.toMatchObject({ code: "InvalidToken" });
  });

  test("its access key alone is InvalidAccessKeyId, and a permanent key with its token InvalidToken", async () => {
    const session = await openSession(env, { roleId: await makeRole(), organizationId: organization, ttlSeconds: 900 });
    await expect(identify(env, session.accessKeyId, undefined)).rejects.toMatchObject({ code: "InvalidAccessKeyId" });
    await expect(identify(env, owner.key, session.sessionToken)).rejects.toMatchObject({ code: "InvalidToken" });
  });
});

describe("authorize", () => {
  test("needs the organization's policy and the role's", async () => {
    const { key } = await makeKey(await makeRole(policy("operation.startsWith('get-')")));
    await putOrganizationPolicy(env, actor(), policy("parameters.bucket == 'a'"));
    const { identity } = await identify(env, key, undefined);
    await putOrganizationPolicy(env, actor(), null);
    expect(() => authorize(identity, asked("get-object", { bucket: "a" }))).not.toThrow();
    expect(() => authorize(identity, asked("get-object", { bucket: "b" }))).toThrow("Access Denied");
    expect(() => authorize(identity, asked("put-object", { bucket: "a" }))).toThrow("Access Denied");
  });

  test("a parameter that is undefined is missing, not empty", async () => {
    const { key } = await makeKey(await makeRole(policy("!has(parameters.version_id)")));
    const { identity } = await identify(env, key, undefined);
    expect(isAllowed(identity, asked("get-object", { version_id: undefined }))).toBe(true);
    expect(isAllowed(identity, asked("get-object", { version_id: "1" }))).toBe(false);
  });

  test("an expression sees zone, address, key and identity", async () => {
    const { key } = await makeKey(
      await makeRole(
        policy(
          "zone == 'ch-dk-2' && source_ip.inIpRange('192.0.2.0/24') && api_key == identity.key && timestamp(now) > timestamp('2020-01-01T00:00:00Z') && identity.organization != identity.role",
        ),
      ),
    );
    const { identity } = await identify(env, key, undefined);
    expect(isAllowed(identity, asked("get-object"))).toBe(true);
    expect(isAllowed(identity, { ...asked("get-object"), zone: "at-vie-1" })).toBe(false);
    expect(isAllowed(identity, { ...asked("get-object"), sourceIp: "198.51.100.1" })).toBe(false);
  });
});

const mayAssume = async (organizationId: string, roleId: string) =>
  (await assumeRole(env, organizationId, roleId, "ch-dk-2")) !== undefined;

describe("A role for replication", () => {
  const seed = policy("parameters.bucket == 'my-source' && operation == 'get-object'");
  const withIam = (iam: Policy["services"][string]): Policy => ({ ...seed, services: { ...seed.services, iam } });

  test.each<[string, Policy | null, boolean]>([
    ["without a policy", null, true],
    ["as the walkthrough writes it: default deny, only sos", seed, true],
    ["with iam denied", withIam({ type: "deny" }), false],
    [
      "with a rule that denies assume-role",
      withIam({ type: "rules", rules: [{ action: "deny", expression: "operation == 'assume-role'" }] }),
      false,
    ],
    [
      "with a rule that denies something else",
      withIam({ type: "rules", rules: [{ action: "deny", expression: "operation == 'create-api-key'" }] }),
      true,
    ],
    [
      "with a rule that allows it first",
      withIam({
        type: "rules",
        rules: [
          { action: "allow", expression: "true" },
          { action: "deny", expression: "true" },
        ],
      }),
      true,
    ],
  ])("%s", async (_, rolePolicy, expected) => {
    expect(await mayAssume(organization, await makeRole(rolePolicy))).toBe(expected);
  });

  test("may not be assumed when it is gone, another organization's, or denied by the organization's policy", async () => {
    const role = await makeRole(seed);
    expect(await mayAssume(other, role)).toBe(false);
    await putOrganizationPolicy(env, actor(), policy("true", "deny"));
    expect(await mayAssume(organization, role)).toBe(false);
    await putOrganizationPolicy(env, actor(), policy("true", "allow"));
    pass(20 * SECOND);
    expect(await mayAssume(organization, role)).toBe(true);
    await putOrganizationPolicy(env, actor(), null);
    await deleteRole(env, actor(), role);
    pass(20 * SECOND);
    expect(await mayAssume(organization, role)).toBe(false);
  });
});

describe("A role's revision", () => {
  test("is raised by every change of it and of the organization's policy, and is gone with it", async () => {
    const role = await makeRole();
    const read = async () => {
      pass(20 * SECOND);
      return await roleRevision(env, organization, role);
    };
    const revisions = [await read()];
    await putRolePolicy(env, actor(), role, policy("true"));
    revisions.push(await read());
    await updateRole(env, actor(), role, { description: "changed" });
    revisions.push(await read());
    await putOrganizationPolicy(env, actor(), null);
    revisions.push(await read());
    expect(revisions).toEqual([...new Set(revisions)].toSorted((a, b) => a! - b!));
    const last = await read();
    await updateRole(env, actor(), role, {});
    expect(await read()).toBe(last);
    await deleteRole(env, actor(), role);
    expect(await read()).toBeUndefined();
  });

  test("a role is seen by its own organization alone", async () => {
    const role = await makeRole();
    expect(await getRole(env, organization, role)).toMatchObject({ id: role, organizationId: organization });
    expect(await getRole(env, other, role)).toBeUndefined();
    expect((await listRoles(env, other)).map(({ name }) => name)).toEqual(["Owner"]);
  });
});

describe("A key's last use", () => {
  test("is noted, once an hour at most", async () => {
    const { key } = await makeKey(await makeRole());
    expect(await getKey(env, organization, key)).toMatchObject({ lastUsedAt: null });
    await noteUse(env, key);
    const { lastUsedAt } = await getKey(env, organization, key);
    expect(lastUsedAt).toBe(Date.now());
    pass(59 * MINUTE);
    await noteUse(env, key);
    expect(await getKey(env, organization, key)).toMatchObject({ lastUsedAt });
    pass(2 * MINUTE);
    await noteUse(env, key);
    expect(await getKey(env, organization, key)).toMatchObject({ lastUsedAt: Date.now() });
  });
});
