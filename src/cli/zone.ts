/** `zonal zone`: the zones there are, with the address of each one's S3 endpoint. */
import type { Command } from "commander";
import { accountOf, show } from "./command.ts";

export function addZone(program: Command): void {
  program
    .command("zone")
    .description("List the zones")
    .action(async (_options: object, command: Command) => {
      const zones = await accountOf(command).zones();
      show(command, {
        json: zones.map(({ name, endpoint }) => ({ name, "sos-endpoint": endpoint })),
        table: { header: ["Name", "SOS endpoint"], rows: zones.map(({ name, endpoint }) => [name, endpoint]) },
      });
    });
}
