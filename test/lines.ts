/** What tests read of the log of zones that were started with `entry: LOGGED` and LOG on. */
import type { Zones } from "./harness.ts";

export const LOGGED = "test/logged.ts";

export interface Line {
  time: string;
  zone: string;
  id?: string;
  operation?: string;
  event?: string;
  level?: string;
  [field: string]: unknown;
}

/** The lines that a zone wrote since the last time, the door's own requests not among them. */
export async function readLines(zones: Zones, zone: string): Promise<Line[]> {
  return (await (await fetch(`${zones.endpoint(zone)}/-/log`)).json()) as Line[];
}

/** The next statement that the zone's Worker gives its INDEX meets a mistake of ours. */
export async function spoil(zones: Zones, zone: string): Promise<void> {
  await fetch(`${zones.endpoint(zone)}/-/spoil`, { method: "POST" });
}
