/**
 * A two-way link under load whose server is killed again and again, and what is there then: what npm test does a few
 * times and the program kills.ts a hundred times.
 */
import { setTimeout } from "node:timers/promises";
import { until, type Zones } from "../harness.ts";
import { link, type Place, versionedBucket } from "../links.ts";
import { type Inspection, inspect } from "./inspection.ts";
import { Load, randomOf } from "./load.ts";

const ENDS = ["ch-dk-2", "at-vie-1"];
/** At each end. */
const CLIENTS = 6;
/** Writes that are acknowledged before a kill, at most, and milliseconds until it comes then. */
const WRITES = 120;
const MILLISECONDS = 50;
/** Share of the kills that wait for no write: they come when the clients have only just begun. */
const EARLY = 0.1;

export interface Verdict {
  kills: number;
  /** writes: versions and delete markers made, and versions removed by their id */
  acknowledged: number;
  /** requests that a kill left without an answer */
  interrupted: number;
  /** a line each for what is wrong */
  lost: string[];
  halfWritten: string[];
  pending: string[];
  /** versions that one end has and the other lacks though nobody removed them there, or has with other bytes */
  different: string[];
  /** writes that made two versions */
  doubled: string[];
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
  const load = new Load(seed);
  const lost: string[] = [];
  load.reach(places);
  for (let kill = 1; kill <= kills; kill++) {
    const { acknowledged, interrupted } = load;
    load.start(CLIENTS);
    const writes = random() < EARLY ? 0 : random() * WRITES;
    await until(() => load.acknowledged >= acknowledged + writes, { interval: 1, deadline: 30_000 });
    await setTimeout(random() * MILLISECONDS);
    load.expectKill();
    await zones.kill();
    await load.stop();
    await zones.restart();
    load.reach(places);
    lost.push(...(await load.check()));
    tell(
      `kill ${kill}: interrupted ${load.interrupted - interrupted}, ${load.acknowledged} writes acknowledged, lost ${lost.length}`,
    );
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
    interrupted: load.interrupted,
    lost: [...new Set(lost)],
    halfWritten: [...left.halfWritten, ...right.halfWritten],
    pending: [...left.pending, ...right.pending],
    different: [...missing(load, left, right), ...missing(load, right, left), ...unequal(left, right)],
    doubled: [...left.doubled, ...right.doubled],
    refused: load.refusals,
  };
}

/** What one end has and the other lacks. A removal excuses only the end that it was sent to: it doesn't travel. */
function missing(load: Load, one: Inspection, other: Inspection): string[] {
  const there = hashes(other);
  const absent = one.versions.filter(({ key, versionId }) => !there.has(`${key} ${versionId}`));
  return absent
    .filter(({ key, versionId }) => !load.isRemoving(other.bucket, key, versionId))
    .map(({ key, versionId }) => `${key} ${versionId} is in ${one.bucket} and not in ${other.bucket}`);
}

function unequal(left: Inspection, right: Inspection): string[] {
  const there = hashes(right);
  return left.versions
    .map(({ key, versionId, sha256 }) => ({ name: `${key} ${versionId}`, sha256 }))
    .filter(({ name, sha256 }) => there.has(name) && there.get(name) !== sha256)
    .map(({ name }) => `${name} has other bytes at the other end`);
}

function hashes({ versions }: Inspection): Map<string, string | undefined> {
  return new Map(versions.map(({ key, versionId, sha256 }) => [`${key} ${versionId}`, sha256]));
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
