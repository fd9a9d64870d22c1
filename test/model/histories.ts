/**
 * Many histories, several side by side, checked one by one. Zones are started anew after some, since each history leaves
 * Durable Objects behind.
 */
import { setTimeout } from "node:timers/promises";
import { check } from "./check.ts";
import { FAULTS, type Fault } from "./faults.ts";
import type { History, Violation } from "./history.ts";
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
  searches: number;
  givenUp: number;
  seconds: number;
}

/** Histories on one start of the zones. */
const ON_ONE_START = 150;

export async function runHistories(options: Options): Promise<Summary> {
  const began = performance.now();
  const struck = Object.fromEntries(FAULTS.map((fault) => [fault, 0])) as Record<Fault, number>;
  const nothing = { histories: 0, failures: [], operations: {}, searches: 0, givenUp: 0, seconds: 0 };
  const summary: Summary = { ...nothing, struck };
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
  for (const { kind } of history.operations) summary.operations[kind] = (summary.operations[kind] ?? 0) + 1;
  for (const [fault, count] of Object.entries(struck) as [Fault, number][]) summary.struck[fault] += count;
  const checked = { number, history, violations };
  if (violations.length > 0) summary.failures.push(checked);
  options.onChecked?.(checked);
}
