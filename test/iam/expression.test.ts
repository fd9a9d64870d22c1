import { performance } from "node:perf_hooks";
import { describe, expect, test } from "vitest";
import { compileExpression, ExpressionError, type Variables } from "../../src/iam/expression.ts";

const VARIABLES: Variables = {
  service: "sos",
  operation: "get-object",
  parameters: { bucket: "my-source", key: "logs/2026/a.txt" },
  zone: "ch-dk-2",
  source_ip: "192.0.2.7",
  now: "2026-11-25T13:26:00.000Z",
  api_key: "EXO1",
  identity: { key: "EXO1", role: "r", organization: "o" },
};

const isTrue = (expression: string, variables: Partial<Variables> = {}) =>
  compileExpression(expression).isTrue({ ...VARIABLES, ...variables });

describe("An expression that is true", () => {
  test.each([
    "true",
    "parameters.bucket == 'my-source' && operation == 'get-object'",
    "operation.startsWith('get-')",
    "operation in ['get-object', 'head-object']",
    "!(parameters.bucket in ['other'])",
    "has(parameters.bucket) && !has(parameters.version_id)",
    "parameters.key.matches('^logs/[0-9]{4}/')",
    "parameters.key.matches('a[.]txt')",
    "('logs/' + '2026').matches(parameters.key.substring(0, 9))",
    "source_ip.inIpRange('192.0.2.0/24')",
    "timestamp(now) > timestamp('2026-01-01T00:00:00Z')",
    "timestamp(now).getFullYear() == 2026",
    "identity.key != null && api_key == identity.key",
    "size(parameters.key) > 3",
    "['logs/', 'backups/'].exists(p, parameters.key.startsWith(p))",
    "zone == 'ch-dk-2' ? service == 'sos' : false",
    "1 - (2 - 3) == 2",
    "0.1234567890123 > 0.12345678901",
    "'A'.lowerAscii() == 'a'",
    "parameters.key.split('/').size() == 3",
    "// which bucket\nparameters.bucket == 'my-source'",
  ])("%s", (expression) => {
    expect(isTrue(expression)).toBe(true);
  });

  test("an error is absorbed by ||, as CEL says", () => {
    expect(isTrue("parameters.version_id == '1' || true")).toBe(true);
    expect(isTrue("true || parameters.version_id == '1'")).toBe(true);
  });
});

describe("An expression that is not true", () => {
  test.each([
    "false",
    "parameters.version_id == '1'",
    "!(parameters.version_id in ['1'])",
    "parameters.version_id == '1' && true",
    "parameters.version_id == '1' || false",
    "parameters.bucket == 1",
    "parameters.bucket.size() == parameters.bucket",
    "parameters.constructor == parameters.constructor",
    "parameters.__proto__ != null",
    "parameters.toString != null",
    "parameters.bucket",
    "parameters.key.inIpRange('192.0.2.0/24')",
    "source_ip.inIpRange(parameters.key)",
    "parameters.key.matches(parameters.bucket + '(')",
    "timestamp(parameters.key) < timestamp(now)",
    "timestamp(now).getHours('Nowhere/Town') < 25",
    "1 / 0 == 1",
  ])("%s", (expression) => {
    expect(isTrue(expression)).toBe(false);
  });

  test("a computed pattern that is too long is an error, so the rule is passed over", () => {
    expect(isTrue("parameters.key.matches(parameters.key)", { parameters: { key: "a".repeat(128) } })).toBe(true);
    expect(isTrue("parameters.key.matches(parameters.key)", { parameters: { key: "a".repeat(129) } })).toBe(false);
    const hostile = { parameters: { key: "aaa", pattern: "(a?){500}(a?){500}" } };
    expect(isTrue("parameters.key.matches(parameters.pattern)", hostile)).toBe(false);
  });
});

describe("An expression is refused when it is compiled", () => {
  const refused: [expression: string, column: number][] = [
    ["", 1],
    ["operation ==", 13],
    ["operation == 1", 1],
    ["true && foo == 'x'", 9],
    ["operation.startsWith(1)", 1],
    ["operation", 1],
    ["size(operation)", 1],
    ["operation in ['a', 1]", 20],
    ["true && operation.matches('(')", 27],
    ["operation.matches('(?=a)')", 19],
    ["source_ip.inIpRange('192.0.2.0/99')", 21],
    ["operation.exec('rm')", 1],
    [`${"!".repeat(4000)}true`, 501],
  ];
  test.each(refused.map(([expression, column]) => [expression.slice(0, 40), expression, column] as const))(
    "%s",
    (_, expression, column) => {
      const error = errorOf(expression);
      expect(error).toBeInstanceOf(ExpressionError);
      expect(error).toMatchObject({ line: 1, column });
    },
  );

  test("the place counts lines", () => {
    expect(errorOf("true &&\n  foo")).toMatchObject({ line: 2, column: 3, message: "Unknown variable: foo" });
  });
});

describe("An expression that would take long", () => {
  test("a pattern that hangs JavaScript's RegExp is matched in linear time", () => {
    const key = `${"a".repeat(1000)}!`;
    const { isTrue } = compileExpression("parameters.key.matches('^(a+)+$')");
    const started = performance.now();
    expect(isTrue({ ...VARIABLES, parameters: { key } })).toBe(false);
    expect(performance.now() - started).toBeLessThan(500);
  });

  const digits = (count: number) => JSON.stringify(new Array(count).fill(1));
  test.each([
    ["nested macros", `${digits(100)}.all(a, ${digits(100)}.all(b, ${digits(100)}.all(c, a + b + c > 0)))`],
    ["a macro over what the request holds, within another", "parameters.all(a, parameters.all(b, a != b))"],
    ["a text that doubles again and again", `['aaaaaaaa']${".map(x, x + x)".repeat(40)} == []`],
    ["the same by cel.bind", `${bindings(40)}b39.contains('z')${")".repeat(40)}`],
    ["a pattern of many instructions", "parameters.key.matches('^(a?b?){500}([ab]){500}[b-z]$')"],
    ["a pattern in a loop", "parameters.key.split('').all(a, parameters.key.matches('(a|b|c)*d'))"],
    [
      "a separator between all letters",
      "parameters.key.split('').join(parameters.key).split('').join(parameters.key) == ''",
    ],
  ])("costs more than a policy may: %s", (_, expression) => {
    expect(compileExpression(expression).cost).toBeGreaterThan(2_000_000);
  });

  test("what ordinary policies hold costs little", () => {
    const buckets = JSON.stringify(Array.from({ length: 100 }, (_, index) => `bucket-${index}`));
    expect(compileExpression(`parameters.bucket in ${buckets}`).cost).toBeLessThan(2_000);
    expect(compileExpression("parameters.key.matches('^backups/[0-9]+/')").cost).toBeLessThan(50_000);
    expect(compileExpression("operation.startsWith('put-object')").cost).toBeLessThan(500);
  });
});

function bindings(count: number): string {
  const sources = ["parameters.key", ...Array.from({ length: count }, (_, index) => `b${index}`)];
  return Array.from(
    { length: count },
    (_, index) => `cel.bind(b${index}, ${sources[index]} + ${sources[index]}, `,
  ).join("");
}

function errorOf(expression: string): unknown {
  try {
    compileExpression(expression);
  } catch (error) {
    return error;
  }
}
