/**
 * `zonal`: the `exo` grammar for Zonal's zones, over HTTP only.
 *
 * Ends with 0 where the command did its work, with 1 and `error: ...` on standard error where it didn't.
 * The process ends by itself, never by force while somebody reads: output into a pipe would be cut off.
 */
import { Command, CommanderError, Option } from "commander";
import { addBucket } from "./bucket.ts";
import { addGroup, refuseForeignZone, spellSwitches, takeZone } from "./command.ts";
import { addDelete } from "./delete.ts";
import { addDownload } from "./download.ts";
import { addApiKey, addRole } from "./iam.ts";
import { addList } from "./list.ts";
import { addLocal } from "./local.ts";
import { addReplication } from "./replication.ts";
import { addCreate, addShow } from "./storage.ts";
import { addUpload } from "./upload.ts";
import { addZone } from "./zone.ts";

/** put in by bin/build-cli.mjs: a bundle has no package.json beside it */
const VERSION = process.env.ZONAL_VERSION ?? "unbundled";

const ENVIRONMENT = `
Environment:
  ZONAL_API_KEY, ZONAL_API_SECRET   the key; without them EXOSCALE_API_KEY and EXOSCALE_API_SECRET
  ZONAL_API_ENDPOINT                the control API, for example http://127.0.0.1:9080/v2
  ZONAL_SOS_ENDPOINT                one S3 endpoint instead of each zone's own; {zone} stands for the zone
  ZONAL_ZONE                        the default zone
  ZONAL_LOCAL                       path of local.json, instead of .zonal/local.json here or in a folder above
  ZONAL_ORGANIZATION                organization of local.json to work for, if not the first
  ZONAL_TABLE                       box or markdown; by default boxes in a terminal, Markdown in a pipe

Without a key in the environment, the local server's .zonal/local.json gives key, zones and endpoints.`;

function build(): Command {
  const program = new Command("zonal")
    .description("Object storage in several zones, with replication between them")
    .version(VERSION)
    .addOption(
      new Option("-O, --output-format <format>", "output format").choices(["table", "json", "text"]).default("table"),
    )
    .option("-Q, --quiet", "say nothing that isn't asked for")
    .option("--organization <name>", "organization of local.json to work for")
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError()
    .exitOverride()
    .hook("preAction", refuseForeignZone);
  program.addHelpText("after", ENVIRONMENT);
  program.action((_options: object, command: Command) => {
    const [unknown] = command.args;
    if (unknown !== undefined) command.error(`error: unknown command '${unknown}'`);
    command.outputHelp();
  });
  program.allowExcessArguments();

  const iam = addGroup(program, "iam", "API keys and roles");
  addApiKey(iam);
  addRole(iam);

  const storage = addGroup(program, "storage", "Buckets and objects");
  takeZone(storage);
  addCreate(storage);
  addList(storage);
  addShow(storage);
  addUpload(storage);
  addDownload(storage);
  addDelete(storage);
  const bucket = addBucket(storage);
  addReplication(bucket);

  addZone(program);
  addLocal(program);
  return program;
}

async function main(): Promise<void> {
  // `zonal storage list | head` ends the pipe early; that is no error of ours.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    process.exit(error.code === "EPIPE" ? 0 : 1);
  });
  const program = build();
  try {
    await program.parseAsync(spellSwitches(program, process.argv.slice(2)), { from: "user" });
  } catch (error) {
    // Commander has printed its own: help (0) or what is wrong with the command line (1).
    if (!(error instanceof CommanderError)) process.stderr.write(`error: ${(error as Error).message}\n`);
    process.exitCode = error instanceof CommanderError ? error.exitCode : 1;
  }
}

await main();
