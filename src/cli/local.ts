/**
 * `zonal local cut`, `heal` and `status`: what an outage does, tried on zones of this machine. It is Zonal's own; `exo`
 * has no such group.
 *
 * It speaks to the runner that local.json names and to nothing else, whatever the environment says of keys and
 * endpoints: a zone elsewhere can't be cut off. Nothing is sent again, since a local server that doesn't answer isn't
 * there.
 */
import { type Command, Option } from "commander";
import { addGroup, optionsOf, show } from "./command.ts";
import { readRunner } from "./config.ts";
import { ConnectionError, readBody, send } from "./http.ts";
import type { Result } from "./output.ts";

/** Whom a zone is kept from. */
type Cut = "none" | "zones" | "all";

interface ZoneState {
  name: string;
  cut: Cut;
}

export function addLocal(program: Command): void {
  const local = addGroup(program, "local", "Outages of zones on this machine, for a try");
  const from = new Option("--from <side>", "zones: from the other zones only, clients are served")
    .choices(["all", "zones"])
    .default("all");
  local
    .command("cut")
    .allowExcessArguments(false)
    .description("Cut a zone off: connections to it break, from clients and from the other zones")
    .argument("<zone>", "name of the zone")
    .addOption(from)
    .action(async (zone: string, options: { from: string }, command: Command) => {
      await turn(command, zone, `cut?from=${options.from}`);
    });
  local
    .command("heal")
    .allowExcessArguments(false)
    .description("Bring a zone back that was cut off")
    .argument("<zone>", "name of the zone")
    .action(async (zone: string, _options: object, command: Command) => await turn(command, zone, "heal"));
  local
    .command("status")
    .allowExcessArguments(false)
    .description("Show which zones are cut off")
    .action(async (_options: object, command: Command) => await showStates(command));
}

async function turn(command: Command, zone: string, verb: string): Promise<void> {
  await ask("POST", `/zones/${encodeURIComponent(zone)}/${verb}`);
  if (!optionsOf(command).quiet) await showStates(command);
}

async function showStates(command: Command): Promise<void> {
  const { zones } = await ask<{ zones: ZoneState[] }>("GET", "/zones");
  show(command, statesResult(zones));
}

function statesResult(zones: ZoneState[]): Result {
  return {
    json: zones.map(({ name, cut }) => ({ name, cut })),
    table: {
      header: ["Zone", "Clients", "Other zones"],
      rows: zones.map(({ name, cut }) => [
        name,
        cut === "all" ? "cut off" : "connected",
        cut === "none" ? "connected" : "cut off",
      ]),
    },
  };
}

/** Throws with the runner's words where it refuses, and where none answers. */
async function ask<T>(method: string, target: string): Promise<T> {
  const origin = new URL(readRunner(process.env, process.cwd()));
  try {
    const answer = await send({ method, origin, target, headers: {} });
    const body = JSON.parse((await readBody(answer, origin)).toString()) as T & { error?: string };
    if (answer.statusCode !== 200) throw new Error(body.error ?? `the local server answered ${answer.statusCode}`);
    return body;
  } catch (error) {
    if (error instanceof ConnectionError) {
      throw new Error(`the local server doesn't run: ${error.message}`, { cause: error });
    }
    if (error instanceof SyntaxError) {
      throw new Error(`what answers at ${origin.origin} is no local server of Zonal`, { cause: error });
    }
    throw error;
  }
}
