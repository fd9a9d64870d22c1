/**
 * The whole bench: two zones and the bare Worker in one Miniflare, so one workerd and one disk for all.
 *
 * Subjects of a line take turns, round after round (ours, bare, ours, bare ...), because a machine's speed changes
 * while it runs; a ratio is the median of the rounds' ratios, each of two measurements made one after the other.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { workerdsOf } from "../../src/local/processes.ts";
import { ROOT, startZones, temporaryFolder, type Zones } from "../harness.ts";
import { versionedBucket } from "../links.ts";
import { cpuTime } from "./cpu.ts";
import { BUCKET, type Line, MIB, makeLines, type Service, SOURCE, type Subject } from "./lines.ts";
import { type Measured, median, percentile, run } from "./load.ts";
import { BACKLOG_SIZE, LAG_PER_SECOND, LAG_SIZE, Replication } from "./replication.ts";

export interface BenchOptions {
  rounds: number;
  /** of one measurement */
  seconds: number;
  /** lines whose name it matches; undefined: all */
  only?: RegExp;
  /** objects of the backlog */
  backlog: number;
  /** told of each step */
  progress(text: string): void;
}

/** Of one subject of a line; all figures are medians of the rounds, but for a lag's, which are of all objects. */
export interface Result {
  line: string;
  subject: string;
  isBare: boolean;
  clients?: number;
  /** bytes */
  size: number;
  requestsPerSecond: number;
  bytesPerSecond: number;
  /** milliseconds */
  p50?: number;
  p99?: number;
  /** milliseconds of workerd's CPU that a request took */
  cpu?: number;
  /** requests a second, divided by the bare Worker's in the same round */
  ratios: Partial<Record<Service, number>>;
}

const LAG = "Replication, lag";
const BACKLOG = "Replication, backlog";
/** Measurements of the ordinary length that one of the lag is as long as: its 99th percentile needs many objects. */
const LAG_SECONDS = 4;
/** Bytes from which on a body takes so long that a cold connection doesn't show. */
const LARGE = 64 * MIB;

/** Measures every line that is asked for, and gives its results in the order of the output. */
export async function bench(options: BenchOptions): Promise<Result[]> {
  const stateDir = temporaryFolder();
  const remove = () => rmSync(stateDir, { recursive: true, force: true });
  process.once("exit", remove); // somebody who has seen enough must not find gigabytes left behind
  try {
    await using zones = await startZones({
      zones: [SOURCE, "at-vie-1", "bare"],
      stateDir,
      entry: join(ROOT, "test/bench/bare.ts"),
      vars: { IAM_CACHE_SECONDS: "20" },
    });
    return await measureAll(zones, options);
  } finally {
    remove();
    process.off("exit", remove);
  }
}

async function measureAll(zones: Zones, options: BenchOptions): Promise<Result[]> {
  await versionedBucket(zones, SOURCE, BUCKET);
  await (await zones.d1("bare")).exec("CREATE TABLE bare (key TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID");
  const isAsked = (name: string) => options.only?.test(name) ?? true;
  const [workerd] = workerdsOf(zones.stateDir);
  const results: Result[] = [];
  for (const line of makeLines(zones, options.seconds)) {
    if (isAsked(line.name)) results.push(...(await measureLine(line, options, () => cpuTime(workerd))));
  }
  const replication = isAsked(LAG) || isAsked(BACKLOG) ? await Replication.start(zones) : undefined;
  if (replication && isAsked(LAG)) results.push(await measureLag(replication, options));
  if (replication && isAsked(BACKLOG)) results.push(await measureDrain(replication, options));
  return results;
}

/** The first measurement of each subject is thrown away: code isn't compiled yet, and caches are empty. */
async function measureLine(
  line: Line,
  { rounds, seconds, progress }: BenchOptions,
  cpu: () => number | undefined,
): Promise<Result[]> {
  await line.prepare?.();
  const measured = new Map<Subject, Measured[]>(line.subjects.map((subject) => [subject, []]));
  for (let round = 0; round <= rounds; round++) {
    progress(`${line.name}: ${round === 0 ? "warming up" : `round ${round} of ${rounds}`}`);
    for (const [subject, of] of measured) {
      const load = { clients: line.clients, repeats: line.repeats, warmsUp: line.size < LARGE, cpuTime: cpu };
      const calls = await subject.calls();
      const came = await run(calls, { ...load, seconds: round === 0 ? seconds / 4 : seconds });
      if (round > 0) of.push(came);
    }
  }
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
    requestsPerSecond,
    bytesPerSecond: requestsPerSecond * line.size,
    p50: median(own.map(({ latencies }) => percentile(latencies, 0.5))),
    p99: median(own.map(({ latencies }) => percentile(latencies, 0.99))),
    cpu: own[0]!.cpu === undefined ? undefined : median(own.map(({ cpu, requests }) => cpu! / requests)),
    ratios,
  };
}

async function measureLag(replication: Replication, { rounds, seconds, progress }: BenchOptions): Promise<Result> {
  const lags: number[] = [];
  for (let round = 0; round <= rounds; round++) {
    progress(`${LAG}: ${round === 0 ? "warming up" : `round ${round} of ${rounds}`}`);
    const came = await replication.lag(round === 0 ? 1 : LAG_SECONDS * seconds);
    if (round > 0) lags.push(...came);
  }
  lags.sort((a, b) => a - b);
  const figures = { p50: percentile(lags, 0.5), p99: percentile(lags, 0.99), requestsPerSecond: LAG_PER_SECOND };
  return replicationResult(LAG, "PUT's answer to readable", LAG_SIZE, figures);
}

async function measureDrain(replication: Replication, { rounds, backlog, progress }: BenchOptions): Promise<Result> {
  const rates: number[] = [];
  for (let round = 1; round <= rounds; round++) {
    progress(`${BACKLOG}: round ${round} of ${rounds}`);
    rates.push(backlog / (await replication.drain(backlog)));
  }
  return replicationResult(BACKLOG, `drain of ${backlog} objects`, BACKLOG_SIZE, { requestsPerSecond: median(rates) });
}

function replicationResult(
  line: string,
  subject: string,
  size: number,
  figures: Pick<Result, "requestsPerSecond" | "p50" | "p99">,
): Result {
  const bytesPerSecond = figures.requestsPerSecond * size;
  return { line, subject, isBare: false, size, bytesPerSecond, ratios: {}, ...figures };
}
