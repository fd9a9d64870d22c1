/**
 * IAM policies: their shape, their check when they are written, and their answer to a request. Pure.
 *
 * Rules run in order and the first whose expression is true decides with its action; false or an evaluation error
 * (a missing field, a type error) means: go on. No rule true is denied, whatever the default strategy says: that one
 * is only for services that the policy doesn't list.
 *
 * Refuses what it would otherwise have to ignore: unknown fields, and `resources` that name something, because what
 * they match is documented nowhere and a rule that ignored them would be wider than its writer meant.
 */
import { S3Error } from "../errors.ts";
import { type CompiledExpression, compileExpression, ExpressionError, type Variables } from "./expression.ts";

export type { Variables } from "./expression.ts";

export interface PolicyRule {
  action: "allow" | "deny";
  expression: string;
  resources?: string[];
}

export interface ServicePolicy {
  type: "rules" | "allow" | "deny";
  rules?: PolicyRule[];
}

export interface Policy {
  "default-service-strategy": "allow" | "deny";
  services: Record<string, ServicePolicy>;
}

/** What a policy says: the action, and what in it said so. `rule` counts from 1 within the service. */
export interface Decision {
  action: "allow" | "deny";
  by: "rule" | "no-rule" | "service-type" | "default-service-strategy" | "no-policy";
  rule?: number;
}

export const ALLOW_ALL: Policy = { "default-service-strategy": "allow", services: {} };

const POLICY_MAX_BYTES = 64 * 1024;
const RULES_MAX = 200;
const EXPRESSION_MAX_BYTES = 4 * 1024;
/** Estimated steps of all rules together: at worst some 80 ms, where an ordinary policy takes microseconds (measured). */
const COST_MAX = 500_000;

/** What the policy answers; null, a role or organization without one, allows everything. */
export function decide(policy: Policy | null, variables: Variables): Decision {
  if (!policy) return { action: "allow", by: "no-policy" };
  const { service } = variables;
  if (!Object.hasOwn(policy.services, service)) {
    return { action: policy["default-service-strategy"], by: "default-service-strategy" };
  }
  const { type } = policy.services[service]!;
  if (type !== "rules") return { action: type, by: "service-type" };
  const rules = compiledRules(policy, service);
  const index = rules.findIndex((rule) => rule.isTrue(variables));
  if (index < 0) return { action: "deny", by: "no-rule" };
  return { action: rules[index]!.action, by: "rule", rule: index + 1 };
}

type CompiledRule = CompiledExpression & Pick<PolicyRule, "action">;

const compiled = new WeakMap<Policy, Map<string, CompiledRule[]>>();

/** Compiled once per policy object: a changed policy is another object, read from the database again. */
function compiledRules(policy: Policy, service: string): CompiledRule[] {
  const services = compiled.get(policy) ?? new Map<string, CompiledRule[]>();
  compiled.set(policy, services);
  const rules = services.get(service) ?? (policy.services[service]!.rules ?? []).map(compileRule);
  services.set(service, rules);
  return rules;
}

function compileRule({ action, expression }: PolicyRule): CompiledRule {
  return { action, ...compileExpression(expression) };
}

/**
 * Checks a policy as it came from a client. Throws BadRequest naming the service, the rule (from 1) and the column.
 * Limits: 64 KB a policy, 200 rules, 4 KB an expression.
 */
export function checkPolicy(value: unknown): Policy {
  const policy = fields(value, "the policy", ["default-service-strategy", "services"]);
  const strategy = policy["default-service-strategy"];
  if (strategy !== "allow" && strategy !== "deny") {
    throw invalid("default-service-strategy must be 'allow' or 'deny'");
  }
  const entries = Object.entries(fields(policy.services, "services"));
  const services = entries.map(([name, service]) => [name, checkService(name, service)] as const);
  const checked: Policy = { "default-service-strategy": strategy, services: Object.fromEntries(services) };
  if (byteLength(JSON.stringify(checked)) > POLICY_MAX_BYTES) throw invalid("a policy may have at most 64 KB");
  const ruleSets = services.map(([name, { rules = [] }]) => ({ where: `service '${name}'`, rules }));
  checkRules(ruleSets);
  return checked;
}

/** Checks an assume-role policy, `{"rules": [...]}`, in the same way. */
export function checkAssumeRolePolicy(value: unknown): { rules: PolicyRule[] } {
  const { rules } = fields(value, "assume-role-policy", ["rules"]);
  const checked = checkRuleShapes("assume-role-policy", rules ?? []);
  checkRules([{ where: "assume-role-policy", rules: checked }]);
  return { rules: checked };
}

function checkService(name: string, value: unknown): ServicePolicy {
  const where = `service '${name}'`;
  if (!/^[a-z][a-z0-9-]{0,62}$/.test(name)) throw invalid(`${where} is no name of a service`);
  const { type, rules } = fields(value, where, ["type", "rules"]);
  if (type !== "rules" && type !== "allow" && type !== "deny") {
    throw invalid(`${where}: type must be 'rules', 'allow' or 'deny'`);
  }
  if (rules === undefined || rules === null) {
    if (type === "rules") throw invalid(`${where}: type 'rules' needs rules`);
    return { type };
  }
  return { type, rules: checkRuleShapes(where, rules) };
}

function checkRuleShapes(where: string, rules: unknown): PolicyRule[] {
  if (!Array.isArray(rules)) throw invalid(`${where}: rules must be a list`);
  return rules.map((rule, index) => checkRuleShape(`${where}, rule ${index + 1}`, rule));
}

function checkRuleShape(where: string, value: unknown): PolicyRule {
  const { action, expression, resources } = fields(value, where, ["action", "expression", "resources"]);
  if (action !== "allow" && action !== "deny") throw invalid(`${where}: action must be 'allow' or 'deny'`);
  if (typeof expression !== "string" || expression === "") throw invalid(`${where}: expression is missing`);
  if (byteLength(expression) > EXPRESSION_MAX_BYTES) throw invalid(`${where}: an expression may have at most 4 KB`);
  const isEmpty = resources === undefined || resources === null || (Array.isArray(resources) && !resources.length);
  if (!isEmpty) throw invalid(`${where}: resources is not supported, name them in the expression`);
  return { action, expression };
}

function checkRules(ruleSets: { where: string; rules: PolicyRule[] }[]): void {
  const count = ruleSets.reduce((sum, { rules }) => sum + rules.length, 0);
  if (count > RULES_MAX) throw invalid(`a policy may have at most ${RULES_MAX} rules`);
  let cost = 0;
  for (const { where, rules } of ruleSets) {
    for (const [index, { expression }] of rules.entries()) {
      const place = `${where}, rule ${index + 1}`;
      cost += compileAt(place, expression).cost;
      if (!(cost <= COST_MAX))
        throw invalid(`${place}, column 1: the policy's expressions would take too long to evaluate`);
    }
  }
}

function compileAt(place: string, expression: string): CompiledExpression {
  try {
    return compileExpression(expression);
  } catch (error) {
    if (!(error instanceof ExpressionError)) throw error;
    const line = error.line > 1 ? `line ${error.line}, ` : "";
    throw invalid(`${place}, ${line}column ${error.column}: ${error.message}`);
  }
}

function fields(value: unknown, where: string, known?: string[]): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw invalid(`${where} must be an object`);
  const unknown = known && Object.keys(value).find((name) => !known.includes(name));
  if (unknown !== undefined) throw invalid(`${where}: unknown field '${unknown}'`);
  return value as Record<string, unknown>;
}

function byteLength(text: string): number {
  return new TextEncoder().encode(text).length;
}

function invalid(message: string): S3Error {
  return new S3Error("BadRequest", `Invalid policy: ${message}`);
}
