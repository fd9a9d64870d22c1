/** Buckets and links as tests need them, made through the public APIs as a user would. */
import {
  CreateBucketCommand,
  HeadObjectCommand,
  ListObjectVersionsCommand,
  PutBucketReplicationCommand,
  PutBucketVersioningCommand,
  type ReplicationRule,
  type S3Client,
} from "@aws-sdk/client-s3";
import type { OrganizationName, ServerProcess, Zones } from "./harness.ts";

type Server = Zones | ServerProcess;

export interface Place {
  client: S3Client;
  bucket: string;
  zone: string;
}

let names = 0;

/** A bucket with versioning enabled, under a name of its own unless one is given. */
export async function versionedBucket(
  server: Server,
  zone: string,
  name = `bucket-${process.pid}-${++names}`,
  organization: OrganizationName = "main",
): Promise<Place> {
  const client = server.s3(zone, organization);
  await client.send(new CreateBucketCommand({ Bucket: name }));
  await client.send(new PutBucketVersioningCommand({ Bucket: name, VersioningConfiguration: { Status: "Enabled" } }));
  return { client, bucket: name, zone };
}

/** The seed's policy: read one bucket, write the other. */
export function seedPolicy(source: string, destination: string) {
  const rule = (expression: string) => ({ action: "allow", expression });
  const rules = [
    rule(`parameters.bucket == '${source}' && operation == 'get-object'`),
    rule(`parameters.bucket == '${destination}' && operation.startsWith('put-object')`),
  ];
  return { "default-service-strategy": "deny", services: { sos: { type: "rules", rules } } };
}

/** A role with a policy; gives its id. */
export async function makeRole(
  server: Server,
  policy: unknown,
  organization: OrganizationName = "main",
): Promise<string> {
  const name = `role-${process.pid}-${++names}`;
  const answer = await server.control<{ reference: { id: string } }>(
    "POST",
    "/iam-role",
    { name, editable: true, policy },
    organization,
  );
  if (answer.status !== 200) throw new Error(`the role was refused: ${JSON.stringify(answer)}`);
  return answer.body.reference.id;
}

export function ruleTo(destination: string, rule: Partial<ReplicationRule> = {}): ReplicationRule {
  return {
    ID: `to-${destination}`,
    Priority: 1,
    Filter: { Prefix: "" },
    Status: "Enabled",
    DeleteMarkerReplication: { Status: "Enabled" },
    Destination: { Bucket: destination },
    ...rule,
  };
}

/** Replicates one bucket to another by a role with the seed's policy; gives the role's id. */
export async function link(server: Server, source: Place, destination: Place): Promise<string> {
  const role = await makeRole(server, seedPolicy(source.bucket, destination.bucket));
  await putReplication(source, role, [ruleTo(destination.bucket)]);
  return role;
}

export async function putReplication({ client, bucket }: Place, role: string, rules: ReplicationRule[]): Promise<void> {
  const configuration = { Role: role, Rules: rules };
  await client.send(new PutBucketReplicationCommand({ Bucket: bucket, ReplicationConfiguration: configuration }));
}

export async function statusOf(
  { client, bucket }: Place,
  key: string,
  versionId?: string,
): Promise<string | undefined> {
  const answer = await client.send(new HeadObjectCommand({ Bucket: bucket, Key: key, VersionId: versionId }));
  return answer.ReplicationStatus;
}

/** Every version and delete marker of a bucket: `key versionId etag|marker [latest]`, sorted. */
export async function allVersions({ client, bucket }: Place): Promise<string[]> {
  const found: string[] = [];
  let marker: { KeyMarker?: string; VersionIdMarker?: string } = {};
  for (;;) {
    const page = await client.send(new ListObjectVersionsCommand({ Bucket: bucket, ...marker }));
    for (const version of page.Versions ?? []) {
      found.push(`${version.Key} ${version.VersionId} ${version.ETag}${version.IsLatest ? " latest" : ""}`);
    }
    for (const version of page.DeleteMarkers ?? []) {
      found.push(`${version.Key} ${version.VersionId} marker${version.IsLatest ? " latest" : ""}`);
    }
    if (!page.IsTruncated) return found.sort();
    marker = { KeyMarker: page.NextKeyMarker, VersionIdMarker: page.NextVersionIdMarker };
  }
}
