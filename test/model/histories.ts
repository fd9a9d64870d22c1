/**
 * Many histories, several side by side, checked one by one. Zones are started anew after some, since each history leaves
 * Durable Objects behind.
 */
import { setTimeout } from "node:timers/promises";
import { check } from "./check.ts";
import { FAULTS, type Fault } from "./faults.ts";
import { type History, isWrite, type Kind, type Operation, type Violation } from "./history.ts";
import { makePlan } from "./plan.ts";
import { runHistory } from "./run.ts";
import { Stand } from "./stand.ts";

export interface Options {
  seed: string;
  /** number of the first one, and how many */
  from: number;
  histories: number;
  /** each of them so many times: the plan and the fault decisions are the same, how they meet isn't */
  repeat: number;
  side: number;
  script: (main: string) => Promise<string>;
  /** after so many that don't hold no more are begun */
  maxFailures: number;
  onChecked?(checked: CheckedHistory): void;
}

export interface CheckedHistory {
  number: number;
  history: History;
  violations: Violation[];
}

export interface Summary {
  histories: number;
  failures: CheckedHistory[];
  operations: Record<string, number>;
  struck: Record<Fault, number>;
  /** batches cut off that landed later, how many of those changed something, and how many D1 refused */
  landed: number;
  changing: number;
  refused: number;
  /** writes without a condition, and how many of them were done */
  plainWrites: number;
  plainWritesDone: number;
  /** reads and listings, and how many of them were answered */
  reads: number;
  readsAnswered: number;
  searches: number;
  givenUp: number;
  seconds: number;
}

/** Histories on one start of the zones. */
const ON_ONE_START = 150;

const NOTHING = {
  histories: 0,
  landed: 0,
  changing: 0,
  refused: 0,
  plainWrites: 0,
  plainWritesDone: 0,
  reads: 0,
  readsAnswered: 0,
  searches: 0,
  givenUp: 0,
  seconds: 0,
};

const READS: Kind[] = ["get", "head", "getVersion", "list", "listVersions"];

/** From so many histories on every fault must have struck. */
const MANY = 200;

export async function runHistories(options: Options): Promise<Summary> {
  const began = performance.now();
  const struck = Object.fromEntries(FAULTS.map((fault) => [fault, 0])) as Record<Fault, number>;
  const summary: Summary = { ...NOTHING, failures: [], operations: {}, struck };
  const numbers = Array.from({ length: options.histories * options.repeat }, (_, i) => i);
  for (let i = 0; i < numbers.length && summary.failures.length < options.maxFailures; i += ON_ONE_START) {
    await runOnOneStart(options, numbers.slice(i, i + ON_ONE_START), summary);
  }
  summary.seconds = (performance.now() - began) / 1000;
  return summary;
}

async function runOnOneStart(options: Options, numbers: number[], summary: Summary): Promise<void> {
  const stand = await Stand.start(options.script);
  try {
    const next = numbers.values();
    const lane = async () => {
      for (const i of next) {
        if (summary.failures.length >= options.maxFailures) return;
        await runOne(stand, options, i, summary);
      }
    };
    // Apart at the start, or all would wait for quiet at once.
    const lanes = Array.from({ length: options.side }, (_, i) => setTimeout(i * 150).then(lane));
    await Promise.all(lanes);
  } finally {
    await stand.stop();
  }
}

async function runOne(stand: Stand, options: Options, i: number, summary: Summary): Promise<void> {
  const number = options.from + (i % options.histories);
  const plan = makePlan(`${options.seed}/${number}`);
  const { history, struck } = await runHistory(stand, plan, `h-${i}`).catch((cause) => {
    throw new Error(`history ${plan.seed} can't be run: ${cause}`, { cause });
  });
  const { violations, searches, givenUp } = check(history);
  summary.histories++;
  summary.searches += searches;
  summary.givenUp += givenUp;
  for (const operation of history.operations) count(summary, operation);
  for (const { counts, ...landing } of struck) {
    for (const [fault, times] of Object.entries(counts) as [Fault, number][]) summary.struck[fault] += times;
    for (const name of ["landed", "changing", "refused"] as const) summary[name] += landing[name];
  }
  const checked = { number, history, violations };
  if (violations.length > 0) summary.failures.push(checked);
  options.onChecked?.(checked);
}

function count(summary: Summary, operation: Operation): void {
  const { kind, condition, result } = operation;
  summary.operations[kind] = (summary.operations[kind] ?? 0) + 1;
  if (READS.includes(kind)) {
    summary.reads++;
    if (result === "ok") summary.readsAnswered++;
  }
  if (condition || !(isWrite(operation) || kind === "delete")) return;
  summary.plainWrites++;
  if (result === "ok") summary.plainWritesDone++;
}

/** Why a run proves less than it seems to: searches given up, faults that never struck, writes that weren't done. */
export function weaknesses(summary: Summary): string[] {
  const { histories, givenUp, struck, landed, plainWrites, plainWritesDone, reads, readsAnswered } = summary;
  const never = FAULTS.filter((fault) => struck[fault] === 0);
  const all = [
    givenUp > 0 && `${givenUp} searches were given up`,
    histories >= MANY && never.length > 0 && `never struck: ${never.join(", ")}`,
    struck.late > 0 && landed === 0 && "no batch that was cut off has landed",
    plainWritesDone <= plainWrites * 0.8 && `${plainWritesDone} of ${plainWrites} writes without a condition were done`,
    readsAnswered <= reads * 0.8 && `${readsAnswered} of ${reads} reads were answered`,
  ];
  return all.filter((each) => each !== false);
}
