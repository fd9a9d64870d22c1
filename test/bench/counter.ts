/** The switch of a zone's counting, from outside. */
import type { Zones } from "../harness.ts";
import { until } from "../harness.ts";
import type { Part, Units } from "./units.ts";

export type Counted = Record<Part, Units>;

export class Counter {
  readonly #door: string;

  constructor(zones: Zones, zone: string) {
    this.#door = `${zones.endpoint(zone)}/-/units`;
  }

  async start(): Promise<void> {
    await fetch(this.#door, { method: "POST" });
  }

  /** What was counted, once nothing more comes: something may still be on its way after its answer. */
  async stop(): Promise<Counted> {
    let before = "";
    const quiet = async () => {
      const now = await (await fetch(this.#door)).text();
      const isQuiet = now === before;
      before = now;
      return isQuiet;
    };
    await until(quiet, { interval: 100 });
    return (await (await fetch(this.#door, { method: "DELETE" })).json()) as Counted;
  }
}
