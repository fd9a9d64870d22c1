/** How tests arm the faults of entry.ts, and see that they struck: a fault that never struck proves nothing. */
import { S3ServiceException } from "@aws-sdk/client-s3";
import { expect } from "vitest";
import type { Zones } from "../harness.ts";
import type { Place } from "../links.ts";
import type { Fault } from "./armed.ts";

export const ENTRY = "test/faults/entry.ts";

/** Arms faults in a zone, in the place of those before. `clock`: milliseconds that its clock is ahead. */
export async function arm(zones: Zones, zone: string, faults: Fault[], clock = 0): Promise<void> {
  const body = JSON.stringify({ faults, clock });
  const answer = await fetch(door(zones, zone), { method: "POST", body });
  if (!answer.ok) throw new Error(`the faults were refused: ${answer.status}`);
}

/** Every zone as it should be. */
export async function heal(zones: Zones): Promise<void> {
  for (const { name } of zones.zones) await arm(zones, name, []);
}

export async function report(zones: Zones, zone: string): Promise<{ strokes: number[]; journal: string[] }> {
  return (await (await fetch(door(zones, zone))).json()) as { strokes: number[]; journal: string[] };
}

/** Each armed fault struck, or as often as `times` says; and some are armed. */
export async function expectStruck(zones: Zones, zone: string, ...times: number[]): Promise<void> {
  const { strokes } = await report(zones, zone);
  expect(strokes).not.toEqual([]);
  if (times.length > 0) expect(strokes).toEqual(times);
  else for (const struck of strokes) expect(struck).toBeGreaterThan(0);
}

/** What a client sees of a request: `200`, or status and code of S3's error; of a HEAD, which has no body, the status. */
export async function seen(request: Promise<unknown>): Promise<string> {
  try {
    const answer = (await request) as { $metadata: { httpStatusCode: number } };
    return String(answer.$metadata.httpStatusCode);
  } catch (error) {
    if (!(error instanceof S3ServiceException)) throw error;
    const { httpStatusCode } = error.$metadata;
    return error.name === "Unknown" ? String(httpStatusCode) : `${httpStatusCode} ${error.name}`;
  }
}

function door(zones: Zones, zone: string): string {
  return `${zones.endpoint(zone)}/-/fault`;
}

/** How often a receipt for a version from one bucket to another was counted. */
export async function completions(zones: Zones, source: Place, destination: Place): Promise<number> {
  const index = await zones.d1(source.zone);
  const counted = await index
    .prepare("SELECT sum(m.count) AS n FROM link_minutes m JOIN links l USING (link_id) WHERE l.destination_name = ?1")
    .bind(destination.bucket)
    .first<number>("n");
  return counted ?? 0;
}
