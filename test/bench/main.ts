/**
 * `npm run bench`: what we cost, beside a Worker that only does what the platform does.
 *
 * It isn't part of `npm test`, and refuses nothing for being slow: figures are for comparing two states of the code on
 * one machine, ratios first.
 */
import { fail, readFlags } from "../flags.ts";
import { judge } from "./aims.ts";
import { bench } from "./bench.ts";
import { FULL, QUICK, type Report } from "./report.ts";
import { formatReport } from "./table.ts";

const HELP = `npm run bench -- [options]

  --rounds N        measurements of each subject, taken in turn (3)
  --seconds N       length of a measurement (1)
  --quick           one round of half a second, a cut of 5 s, an object of 256 MiB
  --only PATTERN    lines whose name matches, as "GET 1 KiB" or "put .* 64 clients" or "list" or "replication" or "cost"
  --json            figures and aims as JSON (npm run --silent bench -- --json)
`;

const values = readFlags(HELP, {
  rounds: { type: "string" },
  seconds: { type: "string" },
  quick: { type: "boolean", default: false },
  only: { type: "string" },
  json: { type: "boolean", default: false },
});

const start = performance.now();
const report = await bench({
  rounds: positive("--rounds", values.rounds ?? (values.quick ? "1" : "3")),
  seconds: positive("--seconds", values.seconds ?? (values.quick ? "0.5" : "1")),
  only: values.only === undefined ? undefined : new RegExp(values.only, "i"),
  sizes: values.quick ? QUICK : FULL,
  progress: (text) => process.stderr.write(`${text}\n`),
});
if (isEmpty(report)) fail(`no line matches "${values.only}"`);
const output = values.json
  ? JSON.stringify({ ...report, aims: judge(report) }, undefined, 2)
  : formatReport(report, values.only === undefined);
process.stdout.write(`${output}\n`);
process.stderr.write(`took ${((performance.now() - start) / 60_000).toFixed(1)} minutes\n`);

function isEmpty(report: Report): boolean {
  return Object.values(report).every((part: unknown[]) => part.length === 0);
}

function positive(name: string, text: string): number {
  const value = Number(text);
  return value > 0 ? value : fail(`${name} must be a number above 0, not "${text}"`);
}
