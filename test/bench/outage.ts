/**
 * What an outage leaves behind: the destination's zone is cut off by the runner's door, clients go on writing and
 * deleting at the source, and the clock runs from the healing until all objects and delete markers are there.
 */
import { setTimeout } from "node:timers/promises";
import { run } from "./load.ts";
import { DESTINATION, names, type Replication } from "./replication.ts";
import { type BenchOptions, type Figure, KIB } from "./report.ts";

export const OUTAGE = "Replication, outage";
/** One of so many objects is deleted again. */
const DELETED_OF = 10;
const CLIENTS = 4;

export async function measureOutage(replication: Replication, options: BenchOptions): Promise<Figure[]> {
  const { seconds, perSecond } = options.sizes.cut;
  options.progress(`${OUTAGE}: ${seconds} s`);
  const { zones } = replication;
  const prefix = replication.newPrefix();
  const start = performance.now();
  let written = 0;
  await zones.cut(DESTINATION);
  try {
    for (let second = 1; second <= seconds; second++) {
      written += await writeSome(replication, `${prefix}${second}-`, perSecond);
      await setTimeout(Math.max(0, start + second * 1000 - performance.now()));
    }
    const arrived = await replication.countArrived(prefix);
    if (arrived > 0) throw new Error(`${arrived} versions arrived in a zone that was cut off`);
  } finally {
    await zones.heal(DESTINATION);
  }
  const healed = performance.now();
  await replication.untilArrived(prefix, written);
  const subject = describeCut(seconds);
  return [
    { line: OUTAGE, subject: `${subject}, objects and delete markers written meanwhile`, value: written, unit: "" },
    {
      line: OUTAGE,
      subject: `${subject}, its end to all there`,
      value: (performance.now() - healed) / 1000,
      unit: "s",
    },
  ];
}

export function describeCut(seconds: number): string {
  return `${seconds} s cut`;
}

/** Gives the number of versions that it wrote. */
async function writeSome(replication: Replication, prefix: string, objects: number): Promise<number> {
  const deleted = names(prefix, objects).filter((_, i) => i % DELETED_OF === 0);
  await run(replication.puts(prefix, objects, KIB), { clients: CLIENTS });
  await run(replication.deletes(deleted), { clients: CLIENTS });
  return objects + deleted.length;
}
