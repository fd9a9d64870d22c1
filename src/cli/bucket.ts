/**
 * `zonal storage bucket versioning`: enable, suspend, status.
 *
 * Like all commands below `bucket`, these ask the zone that `-z` names (the default zone without it) and don't look the
 * bucket up: any zone's endpoint answers for any bucket.
 */
import type { Command } from "commander";
import type { S3Client } from "./client.ts";
import { xmlHeaders } from "./client.ts";
import { accountOf, addGroup, optionsOf, parseBucket, show, takeZone, zoneOption } from "./command.ts";
import { leaf, writeXml } from "./xml.ts";

/** Gives the group `bucket`, for the file that adds replication to it. */
export function addBucket(storage: Command): Command {
  const bucket = addGroup(storage, "bucket", "Settings of a bucket").alias("b");
  takeZone(bucket);
  const versioning = addGroup(bucket, "versioning", "Versioning of a bucket's objects").alias("v");
  onBucket(versioning, "enable", "Enable versioning").action(setVersioning("Enabled"));
  onBucket(versioning, "suspend", "Suspend versioning").action(setVersioning("Suspended"));
  onBucket(versioning, "status", "Show whether versioning is enabled").action(showVersioning);
  return bucket;
}

/** A command on one bucket at one zone. */
export function onBucket(group: Command, name: string, description: string): Command {
  return group
    .command(name)
    .description(description)
    .argument("<bucket>", "sos://BUCKET, or its bare name", parseBucket)
    .addOption(zoneOption());
}

/** S3 at the zone that `-z` names. */
export function s3AtZone(command: Command): Promise<S3Client> {
  return accountOf(command).s3(optionsOf(command).zone);
}

function setVersioning(Status: "Enabled" | "Suspended") {
  return async (bucket: string, _options: object, command: Command): Promise<void> => {
    const body = writeXml("VersioningConfiguration", { Status });
    const s3 = await s3AtZone(command);
    await s3.call({ method: "PUT", bucket, query: { versioning: "" }, headers: xmlHeaders(body), body });
  };
}

async function showVersioning(bucket: string, _options: object, command: Command): Promise<void> {
  const s3 = await s3AtZone(command);
  const query = { versioning: "" };
  const result = await s3.callXml({ method: "GET", bucket, query }, "VersioningConfiguration");
  const status = leaf(result, "Status") ?? "Disabled";
  show(command, {
    json: { bucket, objectVersioning: status },
    table: {
      header: ["Bucket Object Versioning"],
      rows: [
        ["Bucket", bucket],
        ["Object Versioning", status],
      ],
    },
  });
}
