/**
 * What all commands share: the global options, the account they lead to, addresses like `sos://BUCKET/KEY`, and the
 * grammar's peculiarities that commander doesn't know.
 *
 * `exo` takes `--editable=true` for a switch, and `-z` anywhere after `storage`.
 */
import { type Command, InvalidArgumentError, Option } from "commander";
import { Account } from "./account.ts";
import { readConfig } from "./config.ts";
import { type OutputFormat, print, type Result } from "./output.ts";

/** Options that every command has, and `zone` where a command has it. */
export interface GlobalOptions {
  outputFormat: OutputFormat;
  quiet?: boolean;
  organization?: string;
  zone?: string;
}

export interface Address {
  bucket: string;
  /** what stands after the first slash; undefined where there is no slash */
  path: string | undefined;
}

export const OBJECT_ACLS = [
  "private",
  "public-read",
  "public-read-write",
  "authenticated-read",
  "aws-exec-read",
  "bucket-owner-read",
  "bucket-owner-full-control",
];
export const BUCKET_ACLS = OBJECT_ACLS.slice(0, 4);

/** Throws where there are no credentials. */
export function accountOf(command: Command): Account {
  const { organization } = command.optsWithGlobals<GlobalOptions>();
  return new Account(readConfig(process.env, process.cwd(), organization));
}

export function optionsOf<T = object>(command: Command): GlobalOptions & T {
  return command.optsWithGlobals<GlobalOptions & T>();
}

export function show(command: Command, result: Result): void {
  print(result, optionsOf(command).outputFormat);
}

/** `sos://B/K`, or without the scheme. */
export function parseAddress(text: string): Address {
  const bare = text.replace(/^sos:\/\//, "");
  const slash = bare.indexOf("/");
  const bucket = slash < 0 ? bare : bare.slice(0, slash);
  if (!bucket) throw new InvalidArgumentError("It names no bucket.");
  return { bucket, path: slash < 0 ? undefined : bare.slice(slash + 1) };
}

/** `sos://B`, `sos://B/` or `B`. */
export function parseBucket(text: string): string {
  const { bucket, path } = parseAddress(text);
  if (path) throw new InvalidArgumentError("It names an object, not a bucket.");
  return bucket;
}

/** A command that only holds others: alone it prints its help, and what it doesn't know is an error. */
export function addGroup(parent: Command, name: string, description: string): Command {
  return parent
    .command(name)
    .description(description)
    .allowExcessArguments()
    .action((_options: object, command: Command) => {
      const [unknown] = command.args;
      if (unknown !== undefined) command.error(`error: unknown command '${unknown}'`);
      command.outputHelp();
    });
}

/** `-z, --zone`, as a command shows it. */
export function zoneOption(): Option {
  return new Option("-z, --zone <zone>", "zone; the account's default zone if absent");
}

/** Lets `-z` stand after a group too. Its commands that have no such option refuse it (see `refuseForeignZone`). */
export function takeZone(group: Command): void {
  group.addOption(zoneOption().hideHelp());
}

/** For commander's preAction hook. */
export function refuseForeignZone(_: Command, command: Command): void {
  const hasOption = command.options.some((option) => option.long === "--zone");
  if (optionsOf(command).zone !== undefined && !hasOption) {
    command.error("error: unknown option '--zone': the bucket is found by its name");
  }
}

/**
 * The command line as commander reads it. `exo`'s grammar has `--recursive=true` for `--recursive`, where `=false` takes
 * the switch away (`--editable=false`: `--no-editable`); and `-rfQ` may hold switches of a command and of the program,
 * which commander finds only one by one.
 */
export function spellSwitches(program: Command, argv: string[]): string[] {
  const options = allOptions(program);
  const namesOf = (list: Option[]) => new Set(list.flatMap(({ long, short }) => [long, short]));
  const valued = namesOf(options.filter(takesValue));
  const switches = namesOf(options.filter((option) => !takesValue(option)));
  const end = argv.indexOf("--") < 0 ? argv.length : argv.indexOf("--");
  return argv.flatMap((word, i) => {
    if (i >= end || valued.has(argv[i - 1])) return [word];
    const letters = /^-[a-zA-Z]{2,}$/.test(word) ? [...word.slice(1)].map((letter) => `-${letter}`) : [];
    if (letters.length > 0 && letters.slice(0, -1).every((one) => switches.has(one))) return letters;
    const [, name, value] = /^(--[a-z-]+)=(true|false)$/.exec(word) ?? [];
    if (!name || !switches.has(name) || valued.has(name)) return [word];
    if (value === "true") return [name];
    const negation = name.replace("--", "--no-");
    return switches.has(negation) ? [negation] : [];
  });
}

function takesValue(option: Option): boolean {
  return option.required || option.optional;
}

function allOptions(command: Command): Option[] {
  return [...command.options, ...command.commands.flatMap((one) => allOptions(one as Command))];
}

/** For an option that may be repeated, each time with several values by commas. */
export function collect(value: string, before: string[] = []): string[] {
  return [...before, ...value.split(",").filter(Boolean)];
}

/** The same for `key=value`. */
export function collectPairs(value: string, before: Record<string, string> = {}): Record<string, string> {
  const pairs = value.split(",").map((pair) => {
    const at = pair.indexOf("=");
    if (at < 1) throw new InvalidArgumentError("It must be key=value.");
    return [pair.slice(0, at), pair.slice(at + 1)] as const;
  });
  return { ...before, ...Object.fromEntries(pairs) };
}

/** Gives an error the place where it happened. */
export async function explain<T>(what: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw new Error(`${what}: ${(error as Error).message}`, { cause: error });
  }
}
