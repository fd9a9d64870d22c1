import { performance } from "node:perf_hooks";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { checkAssumeRolePolicy, checkPolicy, decide, type Policy, type Variables } from "../../src/iam/policy.ts";

type Rule = [action: "allow" | "deny", expression: string];

/** As printed in the walkthrough of bucket replication. */
const REPLICATION: Policy = rules([
  ["allow", "parameters.bucket == 'my-source' && operation == 'get-object'"],
  ["allow", "parameters.bucket == 'my-destination' && operation.startsWith('put-object')"],
]);

const ONE_BUCKET: Policy = rules([
  ["deny", "!(parameters.bucket in ['a'])"],
  ["allow", "operation == 'list-buckets' || operation.startsWith('get-')"],
]);

function rules(all: Rule[], strategy: "allow" | "deny" = "deny"): Policy {
  const list = all.map(([action, expression]) => ({ action, expression }));
  return { "default-service-strategy": strategy, services: { sos: { type: "rules", rules: list } } };
}

function asked(
  operation: string,
  parameters: Record<string, unknown> = {},
  others: Partial<Variables> = {},
): Variables {
  return {
    service: "sos",
    operation,
    parameters,
    zone: "ch-dk-2",
    source_ip: "192.0.2.7",
    now: "2026-11-25T13:26:00.000Z",
    api_key: "EXO1",
    identity: { key: "EXO1" },
    ...others,
  };
}

describe("A policy decides", () => {
  test.each<[string, Policy | null, Variables, object]>([
    ["no policy", null, asked("delete-bucket"), { action: "allow", by: "no-policy" }],
    [
      "source, read",
      REPLICATION,
      asked("get-object", { bucket: "my-source" }),
      { action: "allow", by: "rule", rule: 1 },
    ],
    ["source, write", REPLICATION, asked("put-object", { bucket: "my-source" }), { action: "deny", by: "no-rule" }],
    [
      "destination, write",
      REPLICATION,
      asked("put-object-tagging", { bucket: "my-destination" }),
      { action: "allow", by: "rule", rule: 2 },
    ],
    [
      "destination, read",
      REPLICATION,
      asked("get-object", { bucket: "my-destination" }),
      { action: "deny", by: "no-rule" },
    ],
    [
      "a service that isn't listed",
      REPLICATION,
      asked("list-iam-roles", {}, { service: "iam" }),
      { action: "deny", by: "default-service-strategy" },
    ],
    ["a deny that errors is passed over", ONE_BUCKET, asked("list-buckets"), { action: "allow", by: "rule", rule: 2 }],
    ["a deny that is true", ONE_BUCKET, asked("get-object", { bucket: "b" }), { action: "deny", by: "rule", rule: 1 }],
    ["the rule behind it", ONE_BUCKET, asked("get-object", { bucket: "a" }), { action: "allow", by: "rule", rule: 2 }],
    [
      "the first of two that are true",
      rules([
        ["allow", "true"],
        ["deny", "true"],
      ]),
      asked("get-object"),
      { action: "allow", by: "rule", rule: 1 },
    ],
    [
      "no rule true, whatever the default strategy",
      rules([["allow", "false"]], "allow"),
      asked("get-object"),
      { action: "deny", by: "no-rule" },
    ],
    ["no rules", rules([], "allow"), asked("get-object"), { action: "deny", by: "no-rule" }],
    [
      "default allow",
      { "default-service-strategy": "allow", services: {} },
      asked("get-object"),
      { action: "allow", by: "default-service-strategy" },
    ],
    [
      "a service of type allow",
      { "default-service-strategy": "deny", services: { sos: { type: "allow" } } },
      asked("get-object"),
      { action: "allow", by: "service-type" },
    ],
    [
      "a service of type deny, rules or not",
      {
        "default-service-strategy": "allow",
        services: { sos: { type: "deny", rules: [{ action: "allow", expression: "true" }] } },
      },
      asked("get-object"),
      { action: "deny", by: "service-type" },
    ],
    [
      "an error absorbed by ||",
      rules([["allow", "parameters.bucket == 'x' || true"]]),
      asked("list-buckets"),
      { action: "allow", by: "rule", rule: 1 },
    ],
    [
      "an anonymous caller",
      rules([["deny", "identity.key == null"]]),
      asked("get-object", {}, { identity: { key: null } }),
      { action: "deny", by: "rule", rule: 1 },
    ],
  ])("%s", (_, policy, variables, expected) => {
    expect(decide(policy, variables)).toEqual(expected);
  });

  test("as the first rule whose expression is true says, and deny without one", () => {
    const rule = fc.record({
      action: fc.constantFrom<"allow" | "deny">("allow", "deny"),
      expression: fc.constantFrom("true", "false", "parameters.nothing == 1", "parameters.bucket == 1"),
    });
    fc.assert(
      fc.property(
        fc.array(rule, { maxLength: 8 }),
        fc.constantFrom<"allow" | "deny">("allow", "deny"),
        (list, strategy) => {
          const policy: Policy = {
            "default-service-strategy": strategy,
            services: { sos: { type: "rules", rules: list } },
          };
          const first = list.find(({ expression }) => expression === "true");
          expect(decide(policy, asked("get-object", { bucket: "b" })).action).toBe(first?.action ?? "deny");
        },
      ),
    );
  });
});

describe("A policy as it is written", () => {
  test("comes back as it went in", () => {
    expect(checkPolicy(REPLICATION)).toEqual(REPLICATION);
    expect(checkPolicy(JSON.parse(JSON.stringify(ONE_BUCKET)))).toEqual(ONE_BUCKET);
    expect(checkPolicy({ "default-service-strategy": "allow", services: {} })).toEqual({
      "default-service-strategy": "allow",
      services: {},
    });
  });

  test("an empty list of resources is taken, and forgotten", () => {
    const rule = { action: "allow", expression: "true", resources: [] };
    const policy = { "default-service-strategy": "deny", services: { sos: { type: "rules", rules: [rule] } } };
    expect(checkPolicy(policy).services.sos).toEqual({
      type: "rules",
      rules: [{ action: "allow", expression: "true" }],
    });
  });

  const withRule = (rule: unknown) => ({
    "default-service-strategy": "deny",
    services: { sos: { type: "rules", rules: [{ action: "allow", expression: "true" }, rule] } },
  });
  test.each<[string, unknown, RegExp]>([
    ["no object", [], /must be an object/],
    ["no strategy", { services: {} }, /default-service-strategy/],
    [
      "an empty strategy, as exo sends it",
      { "default-service-strategy": "", services: {} },
      /default-service-strategy/,
    ],
    ["no services", { "default-service-strategy": "allow" }, /services must be an object/],
    ["an unknown field", { "default-service-strategy": "allow", services: {}, rules: [] }, /unknown field 'rules'/],
    [
      "an odd service",
      JSON.parse('{"default-service-strategy":"deny","services":{"__proto__":{"type":"allow"}}}'),
      /no name/,
    ],
    ["no type", { "default-service-strategy": "deny", services: { sos: {} } }, /'sos': type must be/],
    [
      "type rules without rules",
      { "default-service-strategy": "deny", services: { sos: { type: "rules" } } },
      /needs rules/,
    ],
    [
      "rules of no list",
      { "default-service-strategy": "deny", services: { sos: { type: "rules", rules: {} } } },
      /a list/,
    ],
    ["no action", withRule({ expression: "true" }), /rule 2: action must be/],
    ["no expression", withRule({ action: "allow" }), /rule 2: expression is missing/],
    [
      "resources that would be ignored",
      withRule({ action: "allow", expression: "true", resources: ["a"] }),
      /rule 2: res/,
    ],
    ["a misspelt field", withRule({ action: "allow", expression: "true", expresion: "x" }), /rule 2: unknown field/],
    ["an unknown variable", withRule({ action: "allow", expression: "true && foo" }), /rule 2, column 9: Unknown var/],
    ["a type error", withRule({ action: "allow", expression: "operation == 1" }), /rule 2, column 1: no such overload/],
    [
      "a syntax error",
      withRule({ action: "allow", expression: "true &&\n&& true" }),
      /rule 2, line 2, column 1: Unexp/,
    ],
    ["a long expression", withRule({ action: "allow", expression: `'${"x".repeat(4096)}' == 'x'` }), /rule 2: .* 4 KB/],
    [
      "a costly one",
      withRule({ action: "deny", expression: "parameters.all(a, parameters.all(b, a != b))" }),
      /rule 2, .*too long/,
    ],
  ])("is refused: %s", (_, policy, message) => {
    expect(() => checkPolicy(policy)).toThrow(
      expect.objectContaining({ code: "BadRequest", message: expect.stringMatching(message) }),
    );
  });

  test("may have 200 rules and 64 KB, and no more", () => {
    const many = (count: number, expression: string) => rules(new Array<Rule>(count).fill(["allow", expression]));
    expect(() => checkPolicy(many(200, "operation == 'x'"))).not.toThrow();
    expect(() => checkPolicy(many(201, "operation == 'x'"))).toThrow("at most 200 rules");
    expect(() => checkPolicy(many(20, `operation == '${"x".repeat(4000)}'`))).toThrow("at most 64 KB");
  });

  test("the costs of its rules add up", () => {
    const rule: Rule = ["allow", "parameters.key.matches('^[a-z]{400}$')"];
    expect(() => checkPolicy(rules([rule]))).not.toThrow();
    expect(() => checkPolicy(rules(new Array<Rule>(10).fill(rule)))).toThrow("too long to evaluate");
  });

  test("what is accepted answers soon, however hostile", () => {
    const policy = checkPolicy(rules([["allow", "parameters.key.matches('^(a?b?){40}[ab]{40}c$')"]]));
    const key = Array.from({ length: 1024 }, (_, index) => "ab"[(index * 7919) % 3 ? 0 : 1]).join("");
    const started = performance.now();
    expect(decide(policy, asked("get-object", { key })).action).toBe("deny");
    expect(performance.now() - started).toBeLessThan(2_000);
  });

  test("an assume-role policy is checked alike", () => {
    expect(checkAssumeRolePolicy({ rules: [{ action: "allow", expression: "true" }] })).toEqual({
      rules: [{ action: "allow", expression: "true" }],
    });
    expect(() => checkAssumeRolePolicy({ rules: [{ action: "allow", expression: "foo" }] })).toThrow(
      "rule 1, column 1",
    );
  });
});
