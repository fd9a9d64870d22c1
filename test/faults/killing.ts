/**
 * A two-way link under load whose server is killed again and again, and what is there then: what npm test does a few
 * times and the program kills.ts a hundred times.
 */
import { setTimeout } from "node:timers/promises";
import { until, type Zones } from "../harness.ts";
import { link, type Place, versionedBucket } from "../links.ts";
import { type Inspection, inspect, Load, randomOf } from "./load.ts";

const ENDS = ["ch-dk-2", "at-vie-1"];
/** At each end. */
const CLIENTS = 6;
/** Writes that are acknowledged before a kill, at most, and milliseconds until it comes then. */
const WRITES = 120;
const MILLISECONDS = 50;
/** Kills that come while workerd is still starting up. */
const EARLY = 0.1;

export interface Verdict {
  kills: number;
  /** writes: versions and delete markers made, and versions removed by their id */
  acknowledged: number;
  /** a line each for what is wrong */
  lost: string[];
  halfWritten: string[];
  pending: string[];
  /** versions that are at one end alone, and were removed at neither */
  different: string[];
  /** answers that no client should have got */
  refused: string[];
}

/** Two buckets that replicate to each other. */
export async function twoWay(server: Parameters<typeof versionedBucket>[0]): Promise<[Place, Place]> {
  const [left, right] = [await versionedBucket(server, ENDS[0]!), await versionedBucket(server, ENDS[1]!)];
  await link(server, left, right);
  await link(server, right, left);
  return [left, right];
}

/** Kills workerd so many times under load. `tell` hears how far it is. */
export async function killUnderLoad(
  zones: Zones,
  kills: number,
  seed: number,
  tell: (line: string) => void = () => {},
): Promise<Verdict> {
  const random = randomOf(seed);
  const places = await twoWay(zones);
  const load = new Load(random);
  const lost: string[] = [];
  load.reach(places);
  for (let kill = 1; kill <= kills; kill++) {
    const before = load.acknowledged;
    load.start(CLIENTS);
    const writes = random() < EARLY ? 0 : random() * WRITES;
    await until(() => load.acknowledged >= before + writes, { interval: 1, deadline: 30_000 });
    await setTimeout(random() * MILLISECONDS);
    await zones.kill();
    await load.stop();
    await zones.restart();
    load.reach(places);
    lost.push(...(await load.check()));
    tell(`kill ${kill}: ${load.acknowledged} writes acknowledged, lost ${lost.length}`);
  }
  await untilQuiet(zones);
  lost.push(...(await load.check({ again: true })));
  const [left, right] = [await inspect(places[0]), await inspect(places[1])];
  return { kills, ...judge(load, lost, left, right) };
}

/** What remains to be said once all is quiet. */
export function judge(load: Load, lost: string[], left: Inspection, right: Inspection): Omit<Verdict, "kills"> {
  return {
    acknowledged: load.acknowledged,
    lost: [...new Set(lost)],
    halfWritten: [...left.halfWritten, ...right.halfWritten],
    pending: [...left.pending, ...right.pending],
    different: [...missing(load, left, right), ...missing(load, right, left)],
    refused: load.refusals,
  };
}

function missing(load: Load, one: Inspection, other: Inspection): string[] {
  const there = new Set(other.versions.map(({ key, versionId }) => `${key} ${versionId}`));
  const absent = one.versions.filter(({ key, versionId }) => !there.has(`${key} ${versionId}`));
  return absent
    .filter(({ key, versionId }) => !load.isRemoving(key, versionId))
    .map(({ key, versionId }) => `${key} ${versionId} is at one end alone`);
}

/** Wake-ups died with workerd; the sweep finds what they were for. */
async function untilQuiet(zones: Zones): Promise<void> {
  await until(
    async () => {
      for (const zone of ENDS) await zones.runScheduled(zone);
      const left = ENDS.map(async (zone) => {
        const index = await zones.d1(zone);
        return await index.prepare("SELECT count(*) AS n FROM outbox").first<number>("n");
      });
      return (await Promise.all(left)).every((count) => count === 0);
    },
    { deadline: 120_000, interval: 500 },
  );
}
