/**
 * Measures a line: its subjects take turns, round after round (ours, bare; bare, ours; ours, bare ...), because a machine's
 * speed changes while it runs and what comes second finds the disk as the first one left it; a ratio is the median of the
 * rounds' ratios, each of two measurements made one after the other.
 */
import type { Line, Subject } from "./lines.ts";
import { type Measured, median, percentile, run } from "./load.ts";
import { type BenchOptions, MIB, type Result } from "./report.ts";

/** Bytes from which on a body takes so long that it doesn't show what was cold. */
const LARGE = 64 * MIB;

/**
 * Calls `measure` for each subject in turn, `rounds` times, in every other round from the last to the first; gives what came of each subject, round by round. Before that
 * comes a round that is thrown away, unless `isWarm`: code isn't compiled yet, and caches are empty.
 */
export async function takeTurns<S, M>(
  name: string,
  subjects: S[],
  { rounds, seconds, progress }: BenchOptions,
  measure: (subject: S, seconds: number) => Promise<M>,
  isWarm = false,
): Promise<Map<S, M[]>> {
  const measured = new Map<S, M[]>(subjects.map((subject) => [subject, []]));
  for (let round = isWarm ? 1 : 0; round <= rounds; round++) {
    progress(`${name}: ${round === 0 ? "warming up" : `round ${round} of ${rounds}`}`);
    for (const [subject, of] of inTurn([...measured], round)) {
      const came = await measure(subject, round === 0 ? seconds / 4 : seconds);
      if (round > 0) of.push(came);
    }
  }
  return measured;
}

/** What comes in a round (from 1 on; 0 is the one that warms up), in its order: every other one is the other way round. */
export function inTurn<T>(all: T[], round: number): T[] {
  return round % 2 === 1 ? all : all.toReversed();
}

export async function measureLine(
  line: Line,
  options: BenchOptions,
  cpuTime: () => number | undefined,
): Promise<Result[]> {
  await line.prepare?.();
  const isLarge = line.size >= LARGE;
  const load = { clients: line.clients, repeats: line.repeats, warmsUp: !isLarge, cpuTime };
  const measure = async (subject: Subject, seconds: number) => await run(await subject.calls(), { ...load, seconds });
  const measured = await takeTurns(line.name, line.subjects, options, measure, isLarge);
  return line.subjects.map((subject) => summarize(line, subject, measured));
}

function summarize(line: Line, subject: Subject, measured: Map<Subject, Measured[]>): Result {
  const own = measured.get(subject)!;
  const rate = ({ requests, seconds }: Measured) => requests / seconds;
  const ratios: Result["ratios"] = {};
  for (const [{ bare }, others] of measured) {
    if (bare && !subject.bare) ratios[bare] = median(own.map((each, i) => rate(each) / rate(others[i]!)));
  }
  const requestsPerSecond = median(own.map(rate));
  return {
    line: line.name,
    subject: subject.name,
    isBare: subject.bare !== undefined,
    clients: line.clients,
    size: line.size,
    keys: line.keys ?? 1,
    requestsPerSecond,
    bytesPerSecond: requestsPerSecond * line.size,
    p50: median(own.map(({ latencies }) => percentile(latencies, 0.5))),
    p99: median(own.map(({ latencies }) => percentile(latencies, 0.99))),
    cpu: cpuOf(own),
    ratios,
  };
}

/** Milliseconds of workerd's CPU a request. */
export function cpuOf(measured: Measured[]): number | undefined {
  if (measured.some(({ cpu }) => cpu === undefined)) return undefined;
  return median(measured.map(({ cpu, requests }) => cpu! / requests));
}
