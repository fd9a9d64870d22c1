/**
 * The replication configuration as a document: XML in, XML out, and the rules of its schema. Nothing here knows whether
 * a bucket or role exists.
 *
 * Messages are AWS's, where their wording is known.
 */
import { createHash } from "node:crypto";
import { S3Error } from "../errors.ts";
import { STORAGE_CLASSES } from "./headers.ts";
import { type Content, malformed, type Node, type XmlElement, xml } from "./xml.ts";

type Status = "Enabled" | "Disabled";

export interface FilterDocument {
  /** as it stands in the XML: `none` for an empty Filter */
  form: "none" | "prefix" | "tag" | "and";
  prefix?: string;
  tags: { key: string; value: string }[];
}

export interface RuleDocument {
  id: string;
  priority?: number;
  status: Status;
  /** of a V1 rule */
  prefix?: string;
  filter?: FilterDocument;
  deleteMarkerReplication?: Status;
  existingObjectReplication?: Status;
  replicaModifications?: Status;
  destination: {
    bucket: string;
    account?: string;
    storageClass?: string;
    /** minutes, by Status */
    replicationTime?: { status: Status; minutes: string };
    metrics?: { status: Status; minutes?: string };
  };
}

export interface ConfigurationDocument {
  /** as the client wrote it */
  role: string;
  rules: RuleDocument[];
}

const MAX_RULES = 1000;
const MAX_PRIORITY = 2_147_483_647;
const GUIDE = "Please refer to S3 Developer Guide for more information.";

/** Throws MalformedXML, InvalidRequest, InvalidArgument, NotImplemented. */
export function readConfiguration(root: XmlElement): ConfigurationDocument {
  root.allow("Role", "Rule");
  const role = root.textOf("Role");
  const elements = root.all("Rule");
  if (role === undefined || role === "" || elements.length === 0) throw malformed();
  if (elements.length > MAX_RULES) {
    throw new S3Error("InvalidRequest", `Number of defined replication rules cannot exceed ${MAX_RULES}`);
  }
  const rules = elements.map(readRule);
  checkUnique(rules);
  return { role, rules };
}

function readRule(element: XmlElement): RuleDocument {
  element.allow(
    "ID",
    "Priority",
    "Prefix",
    "Filter",
    "Status",
    "SourceSelectionCriteria",
    "ExistingObjectReplication",
    "DeleteMarkerReplication",
    "Destination",
  );
  const filter = element.get("Filter");
  const rule: Omit<RuleDocument, "id"> & { id?: string } = {
    id: element.textOf("ID") || undefined,
    priority: readPriority(element.textOf("Priority")),
    status: statusOf(element),
    prefix: element.textOf("Prefix"),
    filter: filter && readFilter(filter),
    deleteMarkerReplication: optionalStatus(element.get("DeleteMarkerReplication")),
    existingObjectReplication: optionalStatus(element.get("ExistingObjectReplication")),
    replicaModifications: readSelection(element.get("SourceSelectionCriteria")),
    destination: readDestination(element.get("Destination")),
  };
  checkRule(rule);
  return { ...rule, id: rule.id ?? deriveId(rule) };
}

/** An id that the client left out: the same for the same rule, so that its link stays the same. */
function deriveId({ destination, priority, prefix, filter }: Omit<RuleDocument, "id">): string {
  const facts = JSON.stringify([destination.bucket, priority, prefix, filter]);
  return createHash("sha256").update(facts).digest("base64url").slice(0, 32);
}

function statusOf(element: XmlElement): Status {
  const status = element.textOf("Status");
  if (status !== "Enabled" && status !== "Disabled") throw malformed();
  return status;
}

function optionalStatus(element: XmlElement | undefined): Status | undefined {
  return element && statusOf(element.allow("Status"));
}

function readPriority(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^-?[0-9]+$/.test(text)) throw malformed();
  const priority = Number(text);
  if (priority < 0 || priority > MAX_PRIORITY) {
    throw new S3Error("InvalidRequest", `Priority must be between 0 and ${MAX_PRIORITY}.`);
  }
  return priority;
}

function readFilter(element: XmlElement): FilterDocument {
  element.allow("Prefix", "Tag", "And");
  if (element.children.length > 1) throw malformed();
  const and = element.get("And");
  if (and) {
    and.allow("Prefix", "Tag");
    const tags = and.all("Tag").map(readTag);
    const prefix = and.textOf("Prefix");
    if (tags.length + (prefix === undefined ? 0 : 1) < 2) throw malformed();
    if (new Set(tags.map(({ key }) => key)).size < tags.length) throw malformed();
    return { form: "and", prefix, tags };
  }
  const tag = element.get("Tag");
  if (tag) return { form: "tag", tags: [readTag(tag)] };
  const prefix = element.textOf("Prefix");
  return prefix === undefined ? { form: "none", tags: [] } : { form: "prefix", prefix, tags: [] };
}

function readTag(element: XmlElement): { key: string; value: string } {
  const key = element.allow("Key", "Value").textOf("Key");
  const value = element.textOf("Value");
  if (!key || value === undefined) throw malformed();
  return { key, value };
}

function readSelection(element: XmlElement | undefined): Status | undefined {
  if (!element) return undefined;
  element.allow("SseKmsEncryptedObjects", "ReplicaModifications");
  if (element.get("SseKmsEncryptedObjects")) throw notBuilt("SourceSelectionCriteria/SseKmsEncryptedObjects");
  return optionalStatus(element.get("ReplicaModifications"));
}

function readDestination(element: XmlElement | undefined): RuleDocument["destination"] {
  const bucket = element?.textOf("Bucket");
  if (!element || !bucket) throw malformed();
  element.allow(
    "Bucket",
    "Account",
    "StorageClass",
    "AccessControlTranslation",
    "EncryptionConfiguration",
    "ReplicationTime",
    "Metrics",
  );
  for (const name of ["AccessControlTranslation", "EncryptionConfiguration"]) {
    if (element.get(name)) throw notBuilt(`Destination/${name}`);
  }
  return {
    bucket,
    account: element.textOf("Account"),
    storageClass: readStorageClass(element.textOf("StorageClass")),
    ...readTimes(element),
  };
}

function readStorageClass(text: string | undefined): string | undefined {
  if (text !== undefined && !STORAGE_CLASSES.includes(text)) throw malformed();
  return text;
}

function readTimes(element: XmlElement): Pick<RuleDocument["destination"], "replicationTime" | "metrics"> {
  const time = element.get("ReplicationTime")?.allow("Status", "Time");
  const metrics = element.get("Metrics")?.allow("Status", "EventThreshold");
  const minutes = time?.get("Time")?.allow("Minutes").textOf("Minutes");
  if (time && minutes === undefined) throw malformed();
  return {
    ...(time && { replicationTime: { status: statusOf(time), minutes: minutes! } }),
    ...(metrics && {
      metrics: {
        status: statusOf(metrics),
        minutes: metrics.get("EventThreshold")?.allow("Minutes").textOf("Minutes"),
      },
    }),
  };
}

function notBuilt(what: string): S3Error {
  return new S3Error("NotImplemented", `${what} of a replication rule is not implemented`);
}

function checkRule(rule: Omit<RuleDocument, "id"> & { id?: string }): void {
  const { id, filter, prefix, priority, deleteMarkerReplication } = rule;
  if ((filter === undefined) === (prefix === undefined)) throw malformed();
  if (id !== undefined) checkId(id);
  if (Buffer.byteLength(prefix ?? filter?.prefix ?? "") > 1024) {
    throw new S3Error("InvalidArgument", "Rule prefix cannot be longer than maximum allowed key length of 1024");
  }
  if (filter) {
    if (priority === undefined) throw mustBeSpecified("Priority");
    if (deleteMarkerReplication === undefined) throw mustBeSpecified("DeleteMarkerReplication");
  } else if (priority !== undefined || deleteMarkerReplication !== undefined) {
    const name = priority === undefined ? "DeleteMarkerReplication" : "Priority";
    throw schemaError(`${name} cannot be used for this version of Cross Region Replication configuration schema.`);
  }
  if (deleteMarkerReplication === "Enabled" && filter!.tags.length > 0) {
    throw schemaError("Delete marker replication is not supported if any Tag filter is specified.");
  }
  if (rule.existingObjectReplication === "Enabled") throw notBuilt("ExistingObjectReplication");
  if (rule.replicaModifications === "Enabled") throw notBuilt("SourceSelectionCriteria/ReplicaModifications");
}

function checkId(id: string): void {
  if (id.length > 255) throw new S3Error("InvalidArgument", "Rule Id cannot be greater than 255");
  if (/[^ -~]/.test(id)) throw new S3Error("InvalidArgument", "Rule ID must not contain non-ASCII characters.");
}

function mustBeSpecified(name: string): S3Error {
  return schemaError(`${name} must be specified for this version of Cross Region Replication configuration schema.`);
}

function schemaError(message: string): S3Error {
  return new S3Error("InvalidRequest", `${message} ${GUIDE}`);
}

function checkUnique(rules: RuleDocument[]): void {
  const ids = rules.map(({ id }) => id);
  if (new Set(ids).size < ids.length) throw new S3Error("InvalidArgument", "Rule Id must be unique");
  const seen = new Set<string>();
  for (const { priority, destination } of rules) {
    const name = `${priority}/${destination.bucket.replace("arn:aws:s3:::", "")}`;
    if (priority !== undefined && seen.has(name))
      throw new S3Error("InvalidRequest", `Found duplicate priority ${priority}.`);
    seen.add(name);
  }
}

export function writeConfiguration({ role, rules }: ConfigurationDocument): string {
  return xml("ReplicationConfiguration", [["Role", role], ...rules.map(writeRule)]);
}

function writeRule(rule: RuleDocument): Node {
  const { destination } = rule;
  return [
    "Rule",
    [
      ["ID", rule.id],
      ["Priority", rule.priority],
      ["Prefix", rule.prefix],
      ["Filter", rule.filter && writeFilter(rule.filter)],
      ["Status", rule.status],
      [
        "SourceSelectionCriteria",
        rule.replicaModifications && [status("ReplicaModifications", rule.replicaModifications)],
      ],
      status("ExistingObjectReplication", rule.existingObjectReplication),
      status("DeleteMarkerReplication", rule.deleteMarkerReplication ?? "Disabled"),
      [
        "Destination",
        [
          ["Bucket", destination.bucket],
          ["Account", destination.account],
          ["StorageClass", destination.storageClass],
          timed("ReplicationTime", destination.replicationTime, "Time"),
          timed("Metrics", destination.metrics, "EventThreshold"),
        ],
      ],
    ],
  ];
}

function status(name: string, value: Status | undefined): Node {
  return [name, value && [["Status", value]]];
}

function timed(name: string, value: { status: Status; minutes?: string } | undefined, limit: string): Node {
  return [
    name,
    value && [
      ["Status", value.status],
      [limit, value.minutes === undefined ? undefined : [["Minutes", value.minutes]]],
    ],
  ];
}

function writeFilter({ form, prefix, tags }: FilterDocument): Content {
  const nodes = tags.map(
    ({ key, value }): Node => [
      "Tag",
      [
        ["Key", key],
        ["Value", value],
      ],
    ],
  );
  return form === "and" ? [["And", [["Prefix", prefix], ...nodes]]] : [["Prefix", prefix], ...nodes];
}
