/** Flags of the programs among the tests. What is wrong with them ends the program with 2 and a line that says so. */
import { type ParseArgsConfig, parseArgs } from "node:util";

type Options = NonNullable<ParseArgsConfig["options"]>;

/** Values of the flags; with --help it prints the text and ends. */
export function readFlags<T extends Options>(help: string, options: T) {
  try {
    const { values } = parseArgs({ options: { ...options, help: { type: "boolean", short: "h" } as const } });
    if (!("help" in values && values.help)) return values;
  } catch (error) {
    fail(`${(error as Error).message}; --help tells what there is`);
  }
  process.stdout.write(help);
  process.exit(0);
}

/** A whole number from `least` on. */
export function wholeNumber(name: string, text: string, least: number): number {
  if (/^[0-9]{1,9}$/.test(text) && Number(text) >= least) return Number(text);
  return fail(`--${name} must be a whole number from ${least} on, not "${text}"`);
}

export function fail(message: string): never {
  process.stderr.write(`error: ${message}\n`);
  process.exit(2);
}
