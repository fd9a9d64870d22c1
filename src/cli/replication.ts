/**
 * `zonal storage bucket replication`: set, show, delete a bucket's replication configuration.
 *
 * The file is the JSON that `exo` and awscli take, its names in any case. Unlike `exo`, nothing in it is dropped in
 * silence: a filter that isn't understood must not widen to everything. What S3 doesn't know by name is refused here,
 * what it does know goes to the server. As `exo` does, a rule without a filter gets the empty prefix, and one without
 * a priority 0.
 */
import type { Command } from "commander";
import { onBucket, s3AtZone } from "./bucket.ts";
import { xmlHeaders } from "./client.ts";
import { addGroup, show } from "./command.ts";
import { readJson } from "./input.ts";
import type { Result } from "./output.ts";
import { embed, printable } from "./table.ts";
import { child, children, type Element, leaf, type Node, writeXml } from "./xml.ts";

const ROOT = "ReplicationConfiguration";

/** Each name of the schema (API_PutBucketReplication), with the element that it becomes. */
const NAMES = [
  "Role",
  "ID",
  "Priority",
  "Prefix",
  "Status",
  "Filter",
  "And",
  "Tag",
  "Key",
  "Value",
  "DeleteMarkerReplication",
  "ExistingObjectReplication",
  "SourceSelectionCriteria",
  "ReplicaModifications",
  "SseKmsEncryptedObjects",
  "Destination",
  "Bucket",
  "Account",
  "StorageClass",
  "AccessControlTranslation",
  "Owner",
  "EncryptionConfiguration",
  "ReplicaKmsKeyID",
  "Metrics",
  "EventThreshold",
  "Minutes",
  "ReplicationTime",
  "Time",
];
const ELEMENTS = new Map([
  ...NAMES.map((name) => [name.toLowerCase(), name] as const),
  ["rules", "Rule"] as const,
  ["tags", "Tag"] as const,
]);

export function addReplication(bucket: Command): void {
  const replication = addGroup(bucket, "replication", "Replication of a bucket's objects");
  onBucket(replication, "set", "Set the replication configuration. Both buckets need versioning.")
    .argument("<file>", "replication configuration as JSON, - reads it from standard input")
    .action(setReplication);
  onBucket(replication, "show", "Show the replication configuration").action(showReplication);
  onBucket(replication, "delete", "Delete the replication configuration").action(deleteReplication);
}

async function setReplication(bucket: string, file: string, _options: object, command: Command): Promise<void> {
  const body = writeXml(ROOT, configurationOf(await readJson(file)));
  const s3 = await s3AtZone(command);
  await s3.call({ method: "PUT", bucket, query: { replication: "" }, headers: xmlHeaders(body), body });
}

async function deleteReplication(bucket: string, _options: object, command: Command): Promise<void> {
  const s3 = await s3AtZone(command);
  await s3.call({ method: "DELETE", bucket, query: { replication: "" } });
}

async function showReplication(bucket: string, _options: object, command: Command): Promise<void> {
  const s3 = await s3AtZone(command);
  const query = { replication: "" };
  show(command, replicationResult(bucket, await s3.callXml({ method: "GET", bucket, query }, ROOT)));
}

/** JSON as elements. Throws on a name that the schema doesn't have, naming its place. */
function configurationOf(json: unknown): Element {
  // `replication show -O json` puts the bucket beside the configuration; that form may be set again.
  const { Bucket: _, ...configuration } = toObject(json, "the configuration");
  const root = elementOf(configuration, "");
  const rules = ([root.Rule ?? []].flat() as Element[]).map((rule) => ({
    ...rule,
    // A rule with a prefix of its own is of the first schema, which has no priority.
    ...(rule.Prefix === undefined && { Priority: rule.Priority ?? "0", Filter: rule.Filter ?? { Prefix: "" } }),
  }));
  return { ...root, Rule: rules };
}

function elementOf(object: Record<string, unknown>, place: string): Element {
  const element: Element = {};
  for (const [name, value] of Object.entries(object)) {
    const known = ELEMENTS.get(name.toLowerCase());
    if (!known) throw new Error(`unknown field ${JSON.stringify(place + name)} in the replication configuration`);
    // null and an empty storage class are how `show` writes what is absent
    if (value === null || (known === "StorageClass" && value === "")) continue;
    element[known] = nodeOf(value, `${place}${name}.`);
  }
  return element;
}

function nodeOf(value: unknown, place: string): Node {
  if (Array.isArray(value)) return value.map((one, i) => nodeOf(one, `${place}${i}.`));
  return typeof value === "object" ? elementOf(toObject(value, place), place) : String(value);
}

function toObject(value: unknown, place: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new Error(`${place} is no JSON object`);
  return value as Record<string, unknown>;
}

function replicationResult(bucket: string, configuration: Element): Result {
  const rules = children(configuration, "Rule");
  const role = leaf(configuration, "Role") ?? "-";
  return {
    json: { Role: role, Rules: rules.map(ruleJson), Bucket: bucket },
    table: {
      header: ["Bucket Replication"],
      rows: [
        ["Bucket", bucket],
        ["Role", printable(role)],
        ["Rules", embed(rules.flatMap(ruleRows))],
      ],
    },
  };
}

/** In `exo`'s form, where all of a destination's fields are there; what `exo` doesn't know stands beside it. */
function ruleJson(rule: Element): Record<string, unknown> {
  const destination = plain(child(rule, "Destination") ?? {}) as Record<string, unknown>;
  const filter = plain(child(rule, "Filter") ?? {}) as Record<string, unknown>;
  const criteria = child(rule, "SourceSelectionCriteria");
  return {
    Destination: {
      Bucket: null,
      AccessControlTranslation: null,
      Account: null,
      EncryptionConfiguration: null,
      Metrics: null,
      ReplicationTime: null,
      StorageClass: "",
      ...destination,
    },
    Status: leaf(rule, "Status") ?? "",
    DeleteMarkerReplication: statusJson(rule, "DeleteMarkerReplication"),
    ExistingObjectReplication: statusJson(rule, "ExistingObjectReplication"),
    Filter: Object.keys(filter).length > 0 ? filter : { Prefix: leaf(rule, "Prefix") ?? "" },
    ID: leaf(rule, "ID") ?? null,
    Priority: Number(leaf(rule, "Priority") ?? 0),
    ...(criteria && { SourceSelectionCriteria: plain(criteria) }),
  };
}

function statusJson(rule: Element, name: string): { Status: string } | null {
  const element = child(rule, name);
  return element ? { Status: leaf(element, "Status") ?? "" } : null;
}

/** An element as JSON: text between elements left out, `Tag` as awscli names it. */
function plain(node: Node): unknown {
  if (typeof node === "string") return node;
  if (Array.isArray(node)) return node.map(plain);
  const entries = Object.entries(node).filter(([name]) => name !== "#text" && !name.startsWith("@"));
  return Object.fromEntries(
    entries.map(([name, value]) => {
      if (name === "Minutes") return [name, Number(value)];
      if (name !== "Tag") return [name, plain(value ?? "")];
      const tags = plain(value ?? []) as unknown[];
      return tags.length === 1 ? ["Tag", tags[0]] : ["Tags", tags];
    }),
  );
}

function ruleRows(rule: Element): string[][] {
  const destination = child(rule, "Destination");
  const filter = child(rule, "Filter");
  const and = child(filter, "And");
  const tags = [...children(filter, "Tag"), ...children(and, "Tag")];
  const row = (name: string, value: string | undefined) => (value === undefined ? [] : [[name, printable(value)]]);
  return [
    ...row("ID", leaf(rule, "ID")),
    ...row("Status", leaf(rule, "Status") ?? ""),
    ...row("Priority", leaf(rule, "Priority") ?? "0"),
    ...row("ExistingObjectReplication", leaf(child(rule, "ExistingObjectReplication"), "Status")),
    ...row("DeleteMarkerReplication", leaf(child(rule, "DeleteMarkerReplication"), "Status") ?? "Disabled"),
    ...row("Filter prefix", leaf(filter, "Prefix") ?? leaf(and, "Prefix") ?? leaf(rule, "Prefix") ?? ""),
    ...tags.flatMap((tag) => row("Filter tag", `${leaf(tag, "Key") ?? ""}=${leaf(tag, "Value") ?? ""}`)),
    ...row("Destination Bucket", leaf(destination, "Bucket")),
    ...row("Destination Account", leaf(destination, "Account")),
  ];
}
