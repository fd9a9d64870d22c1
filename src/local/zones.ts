/**
 * Which zones a local run has: those of wrangler.toml, and others by `--zones`, which are made from the first declared
 * one as a template.
 *
 * A zone's number stands in every version id that it gave, so a number once given is remembered in the state and never
 * given again.
 */
import type { WorkerDescription } from "./wrangler.ts";

export interface LocalZone {
  name: string;
  /** 0-63 */
  number: number;
}

const NAME = /^[a-z][a-z0-9]*(-[a-z0-9]+)*$/;
const LAST_NUMBER = 63;

/** The environments that are zones, in the file's order. */
export function zoneDescriptions(workers: WorkerDescription[]): WorkerDescription[] {
  return workers.filter((worker) => worker.vars.ZONE !== undefined);
}

/**
 * The zones of this run in their order, with numbers. `names` undefined: those that the state knows, else those that
 * are declared. Throws on a bad name, or where a zone that the state holds is left out.
 */
export function chooseZones(
  workers: WorkerDescription[],
  known: LocalZone[],
  names: string[] | undefined,
): LocalZone[] {
  const declared = declaredZones(workers);
  const chosen = names ?? (known.length ? known : declared).map((zone) => zone.name);
  checkNames(chosen, known);
  const zones: LocalZone[] = [];
  for (const name of chosen) {
    const taken = [...declared, ...known, ...zones];
    const zone = known.find((each) => each.name === name) ?? declared.find((each) => each.name === name);
    zones.push(zone ?? { name, number: nextNumber(taken) });
  }
  return zones;
}

function declaredZones(workers: WorkerDescription[]): LocalZone[] {
  return zoneDescriptions(workers).map(({ vars }) => {
    const zone = (vars.ZONES as LocalZone[]).find((each) => each.name === vars.ZONE);
    if (!zone) throw new Error(`wrangler.toml: ZONES names no zone ${vars.ZONE}`);
    return { name: zone.name, number: zone.number };
  });
}

function checkNames(names: string[], known: LocalZone[]): void {
  for (const name of names) {
    if (!NAME.test(name))
      throw new Error(`--zones: "${name}" is no zone name (lower-case letters, digits and hyphens)`);
  }
  if (new Set(names).size < names.length) throw new Error("--zones names a zone twice");
  if (names.length === 0) throw new Error("--zones names no zone");
  const left = known.filter((zone) => !names.includes(zone.name)).map((zone) => zone.name);
  if (left.length) {
    throw new Error(`the state also holds zone ${left.join(", ")}: name it in --zones too, or take another --state`);
  }
}

function nextNumber(taken: LocalZone[]): number {
  const number = Math.max(0, ...taken.map((zone) => zone.number)) + 1;
  if (number > LAST_NUMBER) throw new Error(`there are no zone numbers left (${LAST_NUMBER} is the last)`);
  return number;
}

/** The zone's environment, or the first declared zone's with its name replaced wherever it stands. */
export function describeZone(workers: WorkerDescription[], name: string): WorkerDescription {
  const declared = zoneDescriptions(workers);
  const own = declared.find((worker) => worker.vars.ZONE === name);
  if (own) return own;
  const template = declared[0];
  if (!template) throw new Error("wrangler.toml declares no zone");
  return rename(template, template.vars.ZONE as string, name);
}

/** What a zone owns carries its name (zonal-index-ch-dk-2), what zones share doesn't (zonal-control). */
function rename<T>(value: T, from: string, to: string): T {
  if (typeof value === "string") return value.replaceAll(from, to) as T;
  if (Array.isArray(value)) return value.map((each) => rename(each, from, to)) as T;
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, rename(each, from, to)])) as T;
}
