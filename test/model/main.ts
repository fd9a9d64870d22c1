/**
 * `npm run histories`: random concurrent histories against two zones that fail in every way, checked for what Zonal
 * promises. Ends with 1 if one doesn't hold; with --mutation, if the mistake that was put in isn't caught.
 *
 * A seed gives the plan and the decisions of the faults again. How the operations meet is up to the machine, so what was
 * seen once may need some repeats to be seen again.
 */
import { parseArgs } from "node:util";
import { explain } from "./check.ts";
import { type CheckedHistory, runHistories, type Summary } from "./histories.ts";
import { MUTATIONS, scripts } from "./script.ts";

const HELP = `npm run histories -- [flags]

  --seed S         names the run; one is chosen and told if absent
  --histories N    how many (100)
  --from N         number of the first one (1)
  --repeat N       each so many times (1)
  --side N         how many side by side (16)
  --mutation NAME  puts a mistake into the Worker and ends when it is caught: ${Object.keys(MUTATIONS).join(", ")};
                   all: one after the other
`;

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    histories: { type: "string", default: "100" },
    from: { type: "string", default: "1" },
    repeat: { type: "string", default: "1" },
    side: { type: "string", default: "16" },
    mutation: { type: "string" },
    help: { type: "boolean", default: false },
  },
});

function number(name: "histories" | "from" | "repeat" | "side"): number {
  const value = Number(values[name]);
  if (Number.isInteger(value) && value > 0) return value;
  throw new Error(`--${name}: ${values[name]} is no number of anything`);
}

let checked = 0;

function tell({ number, history, violations }: CheckedHistory): void {
  checked++;
  if (checked % 50 === 0) console.log(`${checked} histories`);
  if (violations.length === 0) return;
  console.log(explain(history, violations));
  console.log(`again: npm run histories -- --seed ${values.seed} --from ${number} --histories 1 --repeat 50\n`);
}

function counts(record: Record<string, number>): string {
  return Object.entries(record)
    .map(([name, count]) => `${name} ${count}`)
    .join(", ");
}

function summarize(summary: Summary): void {
  const never = Object.entries(summary.struck).flatMap(([fault, count]) => (count === 0 ? [fault] : []));
  const held = summary.histories - summary.failures.length;
  console.log(
    `seed ${values.seed}: ${held} of ${summary.histories} histories hold, in ${summary.seconds.toFixed(0)} s`,
  );
  console.log(`operations: ${counts(summary.operations)}`);
  console.log(`faults: ${counts(summary.struck)}`);
  if (never.length > 0) console.log(`never struck: ${never.join(", ")}`);
  console.log(`registers searched: ${summary.searches}, given up ${summary.givenUp}`);
}

async function run(mutation: string | undefined): Promise<Summary> {
  const summary = await runHistories({
    seed: values.seed,
    from: number("from"),
    histories: number("histories"),
    repeat: number("repeat"),
    side: number("side"),
    script: scripts(mutation),
    maxFailures: mutation === undefined ? 5 : 1,
    onChecked: tell,
  });
  summarize(summary);
  return summary;
}

/** Whether a mistake that is put in makes some history not hold. */
async function isCaught(mutation: string): Promise<boolean> {
  const { failures, histories } = await run(mutation);
  const isFound = failures.length > 0;
  console.log(`mutation ${mutation}: ${isFound ? "caught" : "not caught"} after ${histories} histories`);
  return isFound;
}

async function main(): Promise<number> {
  if (values.help) {
    console.log(HELP);
    return 0;
  }
  console.log(`seed ${values.seed}`);
  if (values.mutation === undefined) return (await run(undefined)).failures.length > 0 ? 1 : 0;
  let missed = 0;
  for (const mutation of values.mutation === "all" ? Object.keys(MUTATIONS) : [values.mutation]) {
    if (!(await isCaught(mutation))) missed++;
  }
  return missed > 0 ? 1 : 0;
}

process.exitCode = await main();
