/**
 * `zonal storage create` and `show`: a bucket or an object with its ACL.
 *
 * `create` asks the zone that is named, everything else the zone that the bucket is found in.
 * Surprising: an object is read with GET and the body thrown away, because a HEAD's errors have no code; and the URL
 * is the real one at the zone's endpoint (`exo` prints a fixed host).
 */
import { type Command, Option } from "commander";
import type { S3Answer, S3Client } from "./client.ts";
import { accountOf, BUCKET_ACLS, explain, optionsOf, parseAddress, parseBucket, show, zoneOption } from "./command.ts";
import { RequestError } from "./http.ts";
import { formatTime, humanSize, type Result } from "./output.ts";
import { embed, printable } from "./table.ts";
import { child, children, type Element, leaf, leaves } from "./xml.ts";

interface Acl {
  read: string;
  write: string;
  read_acp: string;
  write_acp: string;
  full_control: string;
}

const OBJECT_HEADERS = [
  "Cache-Control",
  "Content-Disposition",
  "Content-Encoding",
  "Content-Language",
  "Content-Type",
  "Expires",
];

export function addCreate(storage: Command): void {
  storage
    .command("create")
    .alias("mb")
    .description("Create a bucket")
    .argument("<bucket>", "sos://BUCKET, or its bare name", parseBucket)
    .addOption(zoneOption())
    .addOption(new Option("--acl <acl>", "canned ACL").choices(BUCKET_ACLS))
    .option("--slots <n>", "Sequencers that put the bucket's keys in order, 1 to 64, for good (zonal's own; 1)")
    .action(async (bucket: string, options: { acl?: string; slots?: string }, command: Command) => {
      const { zone, quiet } = optionsOf(command);
      const s3 = await accountOf(command).s3(zone);
      const headers: Record<string, string> = {
        ...(options.acl && { "x-amz-acl": options.acl }),
        ...(options.slots && { "x-zonal-slots": options.slots }),
      };
      await explain("unable to create bucket", s3.call({ method: "PUT", bucket, headers }));
      if (!quiet) show(command, await bucketResult(s3, bucket));
    });
}

export function addShow(storage: Command): void {
  storage
    .command("show")
    .description("Show a bucket or an object")
    .argument("<address>", "sos://BUCKET/[OBJECT]")
    .action(async (address: string, _options: object, command: Command) => {
      const { bucket, path } = parseAddress(address);
      const s3 = await accountOf(command).s3Of(bucket);
      show(command, path ? await objectResult(s3, bucket, path) : await bucketResult(s3, bucket));
    });
}

async function bucketResult(s3: S3Client, bucket: string): Promise<Result> {
  const aclElement = s3.callXml({ method: "GET", bucket, query: { acl: "" } }, "AccessControlPolicy");
  const acl = aclOf(await explain("unable to retrieve bucket ACL", aclElement));
  const cors = await explain("unable to retrieve bucket CORS configuration", corsRules(s3, bucket));
  const ownership = await explain("unable to retrieve bucket object ownership", objectOwnership(s3, bucket));
  return {
    json: { name: bucket, zone: s3.zone, acl, cors, objectOwnership: ownership },
    table: {
      header: ["Storage"],
      rows: [
        ["Name", bucket],
        ["Zone", s3.zone],
        ["ACL", aclTable(acl)],
        ["CORS", cors.map(corsBlock).join("\n")],
        ["Object Ownership", ownership],
      ],
    },
  };
}

async function objectResult(s3: S3Client, bucket: string, key: string): Promise<Result> {
  const { answer, header } = await explain(
    "unable to retrieve object information",
    s3.open({ method: "GET", bucket, key }),
  );
  answer.destroy();
  const aclElement = s3.callXml({ method: "GET", bucket, key, query: { acl: "" } }, "AccessControlPolicy");
  const acl = aclOf(await explain("unable to retrieve object ACL", aclElement));
  const metadata = metadataOf(Object.keys(answer.headers), header);
  const headers = headersOf(header);
  const shown = {
    name: key,
    bucket,
    last_modified: formatTime(header("last-modified") ?? ""),
    size: Number(header("content-length") ?? 0),
    acl,
    metadata: metadata.size > 0 ? metadata : null,
    headers,
    url: s3.url(bucket, key),
    replication_status: header("x-amz-replication-status") ?? "",
    ...(header("x-zonal-replication-failure") && { replication_failure: header("x-zonal-replication-failure") }),
  };
  return {
    json: shown,
    text: Object.values({ ...shown, metadata }),
    table: { header: ["Storage"], rows: objectRows(shown, metadata, headers) },
  };
}

function objectRows(
  shown: {
    name: string;
    bucket: string;
    last_modified: string;
    size: number;
    acl: Acl;
    url: string;
    replication_status: string;
    replication_failure?: string;
  },
  metadata: Map<string, string>,
  headers: Map<string, string>,
): string[][] {
  return [
    ["Path", printable(shown.name)],
    ["Bucket", shown.bucket],
    ["Last Modified", shown.last_modified],
    ["Size", humanSize(shown.size)],
    ["URL", shown.url],
    ...(shown.replication_status ? [["Replication Status", shown.replication_status]] : []),
    ...(shown.replication_failure ? [["Replication Failure", shown.replication_failure]] : []),
    ["ACL", aclTable(shown.acl)],
    ["Metadata", embed([...metadata].map((pair) => pair.map(printable)))],
    ["Headers", embed([...headers].map((pair) => pair.map(printable)))],
  ];
}

function metadataOf(names: string[], header: S3Answer["header"]): Map<string, string> {
  const prefix = "x-amz-meta-";
  const own = names.filter((name) => name.startsWith(prefix)).sort();
  return new Map(own.map((name) => [name.slice(prefix.length), header(name) ?? ""]));
}

function headersOf(header: S3Answer["header"]): Map<string, string> {
  const present = OBJECT_HEADERS.flatMap((name) => {
    const value = header(name.toLowerCase());
    return value ? [[name, name === "Expires" ? expiresText(value) : value] as const] : [];
  });
  const expiration = header("x-amz-expiration");
  return new Map(expiration ? [...present, ["Expires-At", expiration] as const] : present);
}

/** As Go prints a time; what is no date (S3 stores any text) stays as it is. */
function expiresText(value: string): string {
  return Number.isNaN(Date.parse(value)) ? value : formatTime(value).replace(/UTC$/, "+0000 UTC");
}

/** The last grant of a permission counts. */
function aclOf(policy: Element): Acl {
  const granted: Record<string, string> = {};
  for (const grant of children(child(policy, "AccessControlList"), "Grant")) {
    granted[leaf(grant, "Permission") ?? ""] = granteeOf(child(grant, "Grantee"));
  }
  const { READ = "-", WRITE = "-", READ_ACP = "-", WRITE_ACP = "-", FULL_CONTROL = "-" } = granted;
  return { read: READ, write: WRITE, read_acp: READ_ACP, write_acp: WRITE_ACP, full_control: FULL_CONTROL };
}

function granteeOf(grantee: Element | undefined): string {
  const type = leaf(grantee, "@xsi:type");
  if (type === "CanonicalUser") return leaf(grantee, "DisplayName") ?? "";
  const group = type === "Group" ? leaf(grantee, "URI")?.split("/").at(-1) : undefined;
  return group === "AllUsers" ? "ALL_USERS" : group === "AuthenticatedUsers" ? "AUTHENTICATED_USERS" : "-";
}

function aclTable(acl: Acl): string {
  return embed([
    ["Read", acl.read],
    ["Write", acl.write],
    ["Read ACP", acl.read_acp],
    ["Write ACP", acl.write_acp],
    ["Full Control", printable(acl.full_control)],
  ]);
}

interface CorsRule {
  allowed_origins: string[];
  allowed_methods: string[];
  /** absent where the rule allows none */
  allowed_headers?: string[];
}

async function corsRules(s3: S3Client, bucket: string): Promise<CorsRule[]> {
  const element = await undefinedOn("NoSuchCORSConfiguration", () => {
    return s3.callXml({ method: "GET", bucket, query: { cors: "" } }, "CORSConfiguration");
  });
  return children(element, "CORSRule").map((rule) => {
    const headers = leaves(rule, "AllowedHeader");
    return {
      allowed_origins: leaves(rule, "AllowedOrigin"),
      allowed_methods: leaves(rule, "AllowedMethod"),
      ...(headers.length > 0 && { allowed_headers: headers }),
    };
  });
}

function corsBlock(rule: CorsRule): string {
  const line = (name: string, values: string[]) => `    ${name}   [${values.map(printable).join(" ")}]\n`;
  const headers = rule.allowed_headers ? line("Allowed Headers", rule.allowed_headers) : "";
  return `{\n${line("Allowed Origins", rule.allowed_origins)}${line("Allowed Methods", rule.allowed_methods)}${headers}}\n`;
}

async function objectOwnership(s3: S3Client, bucket: string): Promise<string> {
  const element = await undefinedOn("OwnershipControlsNotFoundError", () => {
    return s3.callXml({ method: "GET", bucket, query: { ownershipControls: "" } }, "OwnershipControls");
  });
  return leaf(children(element, "Rule")[0], "ObjectOwnership") ?? "BucketOwnerEnforced";
}

/** S3 answers with an error where nothing is set; undefined then. */
async function undefinedOn(code: string, ask: () => Promise<Element>): Promise<Element | undefined> {
  try {
    return await ask();
  } catch (error) {
    if (error instanceof RequestError && error.code === code) return undefined;
    throw error;
  }
}
