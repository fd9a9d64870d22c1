/**
 * `npm run histories`: random concurrent histories against two zones that fail in every way, checked for what Zonal
 * promises. Ends with 1 if one doesn't hold, or if the run proves less than it seems to: a search was given up, or a fault
 * never struck in many histories. With --mutation, if the mistake that was put in isn't caught by a check meant for it.
 *
 * A seed gives the plan and the decisions of the faults again. How the operations meet is up to the machine, so what was
 * seen once may need some repeats to be seen again.
 */
import { fail, readFlags, wholeNumber } from "../flags.ts";
import { explain } from "./check.ts";
import { type CheckedHistory, runHistories, type Summary, weaknesses } from "./histories.ts";
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

const values = readFlags(HELP, {
  seed: { type: "string", default: String(Date.now() % 1_000_000) },
  histories: { type: "string", default: "100" },
  from: { type: "string", default: "1" },
  repeat: { type: "string", default: "1" },
  side: { type: "string", default: "16" },
  mutation: { type: "string" },
});
const [histories, from, repeat, side] = (["histories", "from", "repeat", "side"] as const).map((name) =>
  wholeNumber(name, values[name], 1),
) as [number, number, number, number];
const mutations =
  values.mutation === "all" ? Object.keys(MUTATIONS) : [values.mutation].filter((name) => name !== undefined);
for (const name of mutations)
  if (!(name in MUTATIONS)) fail(`--mutation: there is no ${name}; --help tells what there is`);

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
  const held = summary.histories - summary.failures.length;
  console.log(
    `seed ${values.seed}: ${held} of ${summary.histories} histories hold, in ${summary.seconds.toFixed(0)} s`,
  );
  console.log(`operations: ${counts(summary.operations)}`);
  console.log(`faults: ${counts(summary.struck)}`);
  const { landed, changing, refused, plainWrites, plainWritesDone, reads, readsAnswered } = summary;
  console.log(`late batches: ${landed} landed, ${changing} of them changed something; D1 refused ${refused}`);
  console.log(
    `writes without a condition: ${plainWritesDone} of ${plainWrites} done; reads: ${readsAnswered} of ${reads} answered`,
  );
  console.log(`registers searched: ${summary.searches}, given up ${summary.givenUp}`);
}

async function run(mutation: string | undefined): Promise<Summary> {
  const summary = await runHistories({
    seed: values.seed,
    from,
    histories,
    repeat,
    side,
    script: scripts(mutation),
    maxFailures: mutation === undefined ? 5 : 1,
    onChecked: tell,
  });
  summarize(summary);
  return summary;
}

/** Whether a mistake that is put in is found, and by a check that is meant to find it. */
async function isCaught(mutation: string): Promise<boolean> {
  const { failures, histories: made } = await run(mutation);
  const found = [...new Set(failures.flatMap(({ violations }) => violations.map((violation) => violation.check)))];
  const isFound = found.some((check) => MUTATIONS[mutation]!.caughtBy.includes(check));
  const how = found.length > 0 ? ` by ${found.join(", ")}` : "";
  console.log(`mutation ${mutation}: ${isFound ? "caught" : "not caught"}${how} after ${made} histories`);
  return isFound;
}

/** Whether everything holds, and the run is worth something. */
async function holds(): Promise<boolean> {
  const summary = await run(undefined);
  const weak = weaknesses(summary);
  for (const each of weak) console.log(`it proves less than it seems to: ${each}`);
  return summary.failures.length + weak.length === 0;
}

async function main(): Promise<number> {
  console.log(`seed ${values.seed}`);
  if (mutations.length === 0) return (await holds()) ? 0 : 1;
  let missed = 0;
  for (const mutation of mutations) {
    if (!(await isCaught(mutation))) missed++;
  }
  return missed > 0 ? 1 : 0;
}

process.exitCode = await main();
