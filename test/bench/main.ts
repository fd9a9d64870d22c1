/**
 * `npm run bench`: what we cost, beside a Worker that only does what the platform does.
 *
 * It isn't part of `npm test`, and refuses nothing for being slow: figures are for comparing two states of the code on
 * one machine, ratios first.
 */
import { parseArgs } from "node:util";
import { bench } from "./bench.ts";
import { formatTable } from "./table.ts";

const HELP = `npm run bench -- [options]

  --rounds N        measurements of each subject, taken in turn (3)
  --seconds N       length of a measurement (1)
  --only PATTERN    lines whose name matches, as "GET 1 KiB" or "put .* 64 clients" or "replication"
  --json            results as JSON (npm run --silent bench -- --json)
`;
const BACKLOG = 2000;

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    seconds: { type: "string", default: "1" },
    only: { type: "string" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

if (values.help) {
  process.stdout.write(HELP);
} else {
  const results = await bench({
    rounds: positive("--rounds", values.rounds),
    seconds: positive("--seconds", values.seconds),
    only: values.only === undefined ? undefined : new RegExp(values.only, "i"),
    backlog: BACKLOG,
    progress: (text) => process.stderr.write(`${text}\n`),
  });
  if (results.length === 0) fail(`no line matches "${values.only}"`);
  process.stdout.write(`${values.json ? JSON.stringify(results, undefined, 2) : formatTable(results)}\n`);
}

function positive(name: string, text: string): number {
  const value = Number(text);
  return value > 0 ? value : fail(`${name} must be a number above 0, not "${text}"`);
}

function fail(message: string): never {
  process.stderr.write(`error: ${message}\n`);
  process.exit(2);
}
