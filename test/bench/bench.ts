/**
 * The whole bench: two zones and the bare Worker in one Miniflare, so one workerd and one disk for all.
 *
 * A section whose name isn't asked for costs nothing. The large object comes last, because it starts workerd anew.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { workerdsOf } from "../../src/local/processes.ts";
import { ROOT, startZones, temporaryFolder, type Zones } from "../harness.ts";
import { versionedBucket } from "../links.ts";
import { COST, measureCosts } from "./cost.ts";
import { LARGE, measureLarge } from "./large.ts";
import { BUCKET, makeLines, SOURCE } from "./lines.ts";
import { LIST, measureListing } from "./listing.ts";
import { measureLine } from "./measure.ts";
import { measureOutage, OUTAGE } from "./outage.ts";
import { cpuTime } from "./process.ts";
import { makeRemovals } from "./removals.ts";
import { BACKLOG, BURST, DESTINATION, LAG, Replication } from "./replication.ts";
import type { BenchOptions, Figure, Report } from "./report.ts";

/** Measures every line that is asked for, and gives its results in the order of the output. */
export async function bench(options: BenchOptions): Promise<Report> {
  const stateDir = temporaryFolder();
  const remove = () => rmSync(stateDir, { recursive: true, force: true });
  process.once("exit", remove); // somebody who has seen enough must not find gigabytes left behind
  try {
    await using zones = await startZones({
      zones: [SOURCE, DESTINATION, "bare"],
      stateDir,
      entry: join(ROOT, "test/bench/entry.ts"),
      vars: { IAM_CACHE_SECONDS: "20", LOG: "off" },
    });
    return await measureAll(zones, options);
  } finally {
    remove();
    process.off("exit", remove);
  }
}

async function measureAll(zones: Zones, options: BenchOptions): Promise<Report> {
  await versionedBucket(zones, SOURCE, BUCKET);
  // With a rowid: bodies in the rows of one WITHOUT are read by each search for a key, and whoever knows makes none such.
  await (await zones.d1("bare")).exec("CREATE TABLE bare (key TEXT PRIMARY KEY, body TEXT NOT NULL)");
  const isAsked = (name: string) => options.only?.test(name) ?? true;
  const [workerd] = workerdsOf(zones.stateDir);
  const cpu = () => cpuTime(workerd);
  const report: Report = { results: [], pages: [], figures: [], costs: [] };
  const lines = [...makeLines(zones, options.seconds), ...(await makeRemovals(zones, options.seconds))];
  for (const line of lines) {
    if (isAsked(line.name)) report.results.push(...(await measureLine(line, options, cpu)));
  }
  if (isAsked(LIST)) report.pages = await measureListing(zones, options, cpu);
  if (isAsked(COST)) report.costs = await measureCosts(zones, options);
  report.figures = await measureReplication(zones, options, isAsked);
  return report;
}

async function measureReplication(
  zones: Zones,
  options: BenchOptions,
  isAsked: (name: string) => boolean,
): Promise<Figure[]> {
  if (![LAG, BACKLOG, BURST, OUTAGE, LARGE].some(isAsked)) return [];
  const replication = await Replication.start(zones);
  const figures: Figure[] = [];
  if (isAsked(LAG)) figures.push(...(await replication.measureLag(options)));
  if (isAsked(BURST)) figures.push(...(await replication.measureBurst(options)));
  if (isAsked(BACKLOG)) figures.push(...(await replication.measureBacklogs(options)));
  if (isAsked(OUTAGE)) figures.push(...(await measureOutage(replication, options)));
  if (isAsked(LARGE)) figures.push(...(await measureLarge(zones, options)));
  return figures;
}
