/**
 * One CEL expression of a policy: parsed, type-checked, bounded, evaluated. Pure.
 *
 * Policies are written by customers and run on every request, so what could hang a Worker is refused when it is
 * written: an expression has an estimated cost, in which nested macros multiply and growing strings count.
 *
 * Surprises. The library's `matches` is JavaScript's RegExp, which a hostile pattern hangs (2.2 s for `(a+)+$`), and it
 * can't be overridden; so the call is renamed in the parsed tree to a function on RE2, which is linear. In the tree and
 * not by the library's `serialize`, which loses parentheses (`1 - (2 - 3)` comes back as `1 - 2 - 3`) and rounds
 * doubles. A function that isn't declared synchronous makes the whole evaluation a Promise, and a Promise isn't `true`.
 */
import { type ASTNode, Environment, type ParseError } from "@marcbachmann/cel-js";
import { RE2JS } from "re2js";
import { isInIpRange, parseRange } from "./ip.ts";

/** What an expression may name. */
export interface Variables {
  service: string;
  operation: string;
  /** only what the request has: a missing one is an evaluation error */
  parameters: Record<string, unknown>;
  /** empty on the control API, which is in no zone */
  zone: string;
  source_ip: string;
  /** RFC 3339, for `timestamp(now)` */
  now: string;
  /** access key id, or null for an anonymous caller */
  api_key: string | null;
  /** `key` (null for an anonymous caller), `role` and `organization` (ids) */
  identity: Record<string, unknown>;
}

export interface CompiledExpression {
  /** estimated steps of one evaluation */
  cost: number;
  /** Whether it evaluates to true. False, another type and an evaluation error are all not true. */
  isTrue(variables: Variables): boolean;
}

/** What is wrong with an expression, and where: line and column count from 1. */
export class ExpressionError extends Error {
  override readonly name = "ExpressionError";
  readonly line: number;
  readonly column: number;

  constructor(message: string, expression: string, offset: number) {
    super(message);
    const before = expression.slice(0, offset).split("\n");
    this.line = before.length;
    this.column = before.at(-1)!.length + 1;
  }
}

const LINEAR_MATCHES = "matchesLinear";
const COMPUTED_MATCHES = "matchesComputed";
const PATTERNS_KEPT = 256;
/** A pattern that is computed can't be judged when the policy is written, so it is kept small when it is used. */
const COMPUTED_PATTERN_MAX_CHARACTERS = 128;
const COMPUTED_PATTERN_MAX_INSTRUCTIONS = 1000;
const NESTING_MAX = 500;

const environment = new Environment()
  .registerVariable("service", "string")
  .registerVariable("operation", "string")
  .registerVariable("parameters", "map<string, dyn>")
  .registerVariable("zone", "string")
  .registerVariable("source_ip", "string")
  .registerVariable("now", "string")
  .registerVariable("api_key", "dyn")
  .registerVariable("identity", "map<string, dyn>")
  .registerFunction(`string.${LINEAR_MATCHES}(string): bool`, matchesLinear, { async: false })
  .registerFunction(`string.${COMPUTED_MATCHES}(string): bool`, matchesComputed, { async: false })
  .registerFunction("string.inIpRange(string): bool", isInIpRange, { async: false });

/** Throws ExpressionError for what doesn't parse, doesn't type-check, isn't a bool, or holds a malformed pattern or range. */
export function compileExpression(expression: string): CompiledExpression {
  const program = parse(expression);
  checkNesting(program.ast, expression);
  const { valid, type, error } = program.check();
  if (!valid) throw located(error!, expression);
  if (type !== "bool" && type !== "dyn") throw new ExpressionError(`must be a bool, not ${type}`, expression, 0);
  checkLiterals(program.ast, expression);
  const cost = estimate(program.ast, new Map()).steps;

  const runnable = parse(expression);
  renameMatches(runnable.ast);
  runnable.check();
  return { cost, isTrue: (variables) => isTrue(runnable, variables) };
}

function parse(expression: string) {
  try {
    return environment.parse(expression);
  } catch (error) {
    throw located(error as ParseError, expression);
  }
}

function located(error: Pick<ParseError, "message" | "summary" | "range">, expression: string): ExpressionError {
  return new ExpressionError(error.summary ?? error.message, expression, error.range?.start ?? 0);
}

/** An evaluation error concludes nothing: the rule is passed over. That is the policy language's rule, not a shortcut. */
function isTrue(program: (context: Variables) => unknown, variables: Variables): boolean {
  try {
    return program(variables) === true;
  } catch {
    return false;
  }
}

/** In place: the nodes that macros made of the tree are the same objects. A computed pattern gets a function of its own. */
function renameMatches(node: ASTNode): void {
  if (node.op === "rcall" && node.args[0] === "matches") {
    (node.args as unknown[])[0] = literalOf(node.args[2][0]) === undefined ? COMPUTED_MATCHES : LINEAR_MATCHES;
  }
  for (const child of children(node)) renameMatches(child);
}

const patterns = new Map<string, RE2JS>();

function compilePattern(pattern: string): RE2JS {
  const known = patterns.get(pattern);
  if (known) return known;
  const compiled = RE2JS.compile(pattern);
  if (patterns.size >= PATTERNS_KEPT) patterns.delete(patterns.keys().next().value!);
  patterns.set(pattern, compiled);
  return compiled;
}

function matchesLinear(text: string, pattern: string): boolean {
  return compilePattern(pattern).test(text);
}

function matchesComputed(text: string, pattern: string): boolean {
  if (pattern.length > COMPUTED_PATTERN_MAX_CHARACTERS) throw new Error("the computed pattern is too long");
  const compiled = compilePattern(pattern);
  if (compiled.programSize() > COMPUTED_PATTERN_MAX_INSTRUCTIONS) throw new Error("the computed pattern is too large");
  return compiled.test(text);
}

const LITERAL_CHECKS: Record<string, (text: string) => unknown> = {
  matches: compilePattern,
  inIpRange: parseRange,
};

function checkLiterals(node: ASTNode, expression: string): void {
  for (const child of children(node)) checkLiterals(child, expression);
  if (node.op !== "rcall") return;
  const [name, , [argument]] = node.args;
  const literal = literalOf(argument);
  if (literal === undefined || !Object.hasOwn(LITERAL_CHECKS, name)) return;
  try {
    LITERAL_CHECKS[name]!(literal);
  } catch (error) {
    throw new ExpressionError((error as Error).message, expression, argument!.start);
  }
}

function literalOf(node: ASTNode | undefined): string | undefined {
  return node?.op === "value" && typeof node.args === "string" ? node.args : undefined;
}

/** Level by level and not by recursion: what this refuses would overflow the stack of whatever walks the tree. */
function checkNesting(tree: ASTNode, expression: string): void {
  let level = [tree];
  for (let depth = 1; level.length; depth++) {
    if (depth > NESTING_MAX) throw new ExpressionError("nested too deeply", expression, level[0]!.start);
    level = level.flatMap(children);
  }
}

function children(node: ASTNode): ASTNode[] {
  switch (node.op) {
    case "value":
    case "id":
      return [];
    case ".":
    case ".?":
      return [node.args[0]];
    case "call":
      return node.args[1];
    case "rcall":
      return [node.args[1], ...node.args[2]];
    case "map":
      return node.args.flat();
    case "!_":
    case "-_":
      return [node.args];
    default:
      return node.args;
  }
}

/** What a value of a request has at most: the 1,024 bytes of a key. */
const INPUT_SIZE = 1024;
/** Characters that a native function handles in the time of one step, some 20 ns (measured). */
const CHARACTERS_A_STEP = 32;
/** Steps of a date function with a time zone: it formats the date and parses the text (measured: 60 microseconds). */
const TIME_ZONE_STEPS = 4000;
const MACROS = new Set(["all", "exists", "exists_one", "map", "filter"]);

interface Estimate {
  /** nodes visited, and what handling long values costs in the same unit */
  steps: number;
  /** characters and elements of the result, at most */
  size: number;
}

/** `scope` holds the sizes of the variables that macros bind. An upper bound by intent, rough by nature. */
function estimate(node: ASTNode, scope: ReadonlyMap<string, number>): Estimate {
  if (node.op === "value") return { steps: 1, size: typeof node.args === "string" ? node.args.length : 1 };
  if (node.op === "id") return { steps: 1, size: scope.get(node.args) ?? INPUT_SIZE };
  if (node.op === "rcall") return estimateMethod(node.args, scope);
  const parts = children(node).map((child) => estimate(child, scope));
  const sum = total(parts);
  return { steps: sum.steps + 1 + sum.size / CHARACTERS_A_STEP, size: sum.size + parts.length };
}

function estimateMethod(
  [name, receiver, args]: [string, ASTNode, ASTNode[]],
  scope: ReadonlyMap<string, number>,
): Estimate {
  const source = estimate(receiver, scope);
  const [bound, ...bodies] = args;
  if (bound?.op === "id" && name === "bind" && bodies.length === 2) {
    const value = estimate(bodies[0]!, scope);
    const body = estimate(bodies[1]!, new Map(scope).set(bound.args, value.size));
    return { steps: value.steps + body.steps, size: body.size };
  }
  if (bound?.op === "id" && MACROS.has(name)) {
    const count = receiver.op === "list" ? receiver.args.length : source.size;
    const body = total(bodies.map((part) => estimate(part, new Map(scope).set(bound.args, source.size))));
    return { steps: source.steps + count * (body.steps + 1), size: source.size + count * body.size };
  }
  const sum = total([source, ...args.map((argument) => estimate(argument, scope))]);
  // join puts its separator between all elements, so what it gives may be the product.
  const size = name === "join" ? source.size * (sum.size - source.size + 1) : sum.size;
  return { steps: sum.steps + 1 + size / CHARACTERS_A_STEP + methodSteps(name, args, source.size), size };
}

/** RE2 may visit each instruction of the pattern's program for each character: linear, but not cheap. */
function methodSteps(name: string, args: ASTNode[], size: number): number {
  if (name.startsWith("get") && args.length === 1) return TIME_ZONE_STEPS;
  if (name !== "matches") return 0;
  const literal = literalOf(args[0]);
  return size * (literal === undefined ? COMPUTED_PATTERN_MAX_INSTRUCTIONS : compilePattern(literal).programSize());
}

function total(estimates: Estimate[]): Estimate {
  return estimates.reduce((sum, { steps, size }) => ({ steps: sum.steps + steps, size: sum.size + size }), {
    steps: 0,
    size: 0,
  });
}
