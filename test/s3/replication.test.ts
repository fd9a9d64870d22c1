import {
  CreateBucketCommand,
  DeleteBucketReplicationCommand,
  GetBucketReplicationCommand,
  PutBucketVersioningCommand,
  type ReplicationRule,
} from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startZones, type Zones } from "../harness.ts";
import { makeRole, type Place, putReplication, ruleTo, versionedBucket } from "../links.ts";

let zones: Zones;
let source: Place;
let destination: Place;
let other: Place;
let role: string;
let foreignRole: string;

beforeAll(async () => {
  zones = await startZones();
  source = await versionedBucket(zones, "ch-dk-2");
  destination = await versionedBucket(zones, "at-vie-1");
  other = await versionedBucket(zones, "ch-dk-2");
  role = await makeRole(zones, undefined);
  foreignRole = await makeRole(zones, undefined, "alt");
  await zones.s3("ch-dk-2").send(new CreateBucketCommand({ Bucket: "unversioned-bucket" }));
  await versionedBucket(zones, "ch-dk-2", "foreign-bucket", "alt");
});
afterAll(() => zones?.stop());

const GUIDE = "Please refer to S3 Developer Guide for more information.";
const MALFORMED = "The XML you provided was not well-formed or did not validate against our published schema";
const rule = (changes: Partial<ReplicationRule> = {}) => ruleTo(destination.bucket, changes);
const without = (name: keyof ReplicationRule) => rule({ [name]: undefined });
const tag = { Key: "k", Value: "v" };

describe("PutBucketReplication refuses", () => {
  type Case = [condition: string, rules: () => ReplicationRule[], code: string, message: string, roleId?: () => string];
  const cases: Case[] = [
    [
      "a destination that isn't versioned",
      () => [rule({ Destination: { Bucket: "unversioned-bucket" } })],
      "InvalidRequest",
      "Destination bucket must have versioning enabled.",
    ],
    [
      "a destination that is missing",
      () => [rule({ Destination: { Bucket: "no-such-bucket" } })],
      "InvalidRequest",
      "Destination bucket must exist.",
    ],
    [
      "another organization's destination",
      () => [rule({ Destination: { Bucket: "foreign-bucket" } })],
      "InvalidRequest",
      "Destination bucket must exist.",
    ],
    [
      "the source as destination",
      () => [rule({ Destination: { Bucket: source.bucket } })],
      "InvalidRequest",
      "Destination bucket cannot be the same as the source bucket.",
    ],
    [
      "a bad bucket ARN",
      () => [rule({ Destination: { Bucket: "arn:aws:sqs:::x" } })],
      "InvalidArgument",
      "Invalid bucket ARN",
    ],
    [
      "a bad role",
      () => [rule()],
      "InvalidArgument",
      "Invalid Role specified in replication configuration",
      () => "nonsense",
    ],
    [
      "an unknown role",
      () => [rule()],
      "InvalidArgument",
      "Invalid Role specified in replication configuration",
      () => "00000000-0000-0000-0000-000000000000",
    ],
    [
      "a foreign role",
      () => [rule()],
      "InvalidArgument",
      "Invalid Role specified in replication configuration",
      () => foreignRole,
    ],
    [
      "a V2 rule without Priority",
      () => [without("Priority")],
      "InvalidRequest",
      `Priority must be specified for this version of Cross Region Replication configuration schema. ${GUIDE}`,
    ],
    [
      "a V2 rule without DeleteMarkerReplication",
      () => [without("DeleteMarkerReplication")],
      "InvalidRequest",
      `DeleteMarkerReplication must be specified for this version of Cross Region Replication configuration schema. ${GUIDE}`,
    ],
    [
      "delete markers with a tag filter",
      () => [rule({ Filter: { Tag: tag } })],
      "InvalidRequest",
      `Delete marker replication is not supported if any Tag filter is specified. ${GUIDE}`,
    ],
    [
      "a duplicate priority within one destination",
      () => [rule({ ID: "a" }), rule({ ID: "b" })],
      "InvalidRequest",
      "Found duplicate priority 1.",
    ],
    [
      "a priority out of range",
      () => [rule({ Priority: 2147483648 })],
      "InvalidRequest",
      "Priority must be between 0 and 2147483647.",
    ],
    [
      "a negative priority",
      () => [rule({ Priority: -1 })],
      "InvalidRequest",
      "Priority must be between 0 and 2147483647.",
    ],
    ["a duplicate ID", () => [rule(), rule({ Priority: 2 })], "InvalidArgument", "Rule Id must be unique"],
    ["an ID over 255", () => [rule({ ID: "x".repeat(256) })], "InvalidArgument", "Rule Id cannot be greater than 255"],
    [
      "an ID that isn't ASCII",
      () => [rule({ ID: "ä" })],
      "InvalidArgument",
      "Rule ID must not contain non-ASCII characters.",
    ],
    [
      "a prefix over 1024",
      () => [rule({ Filter: { Prefix: "x".repeat(1025) } })],
      "InvalidArgument",
      "Rule prefix cannot be longer than maximum allowed key length of 1024",
    ],
    [
      "over 1000 rules",
      () => Array.from({ length: 1001 }, (_, i) => rule({ ID: `${i}`, Priority: i })),
      "InvalidRequest",
      "Number of defined replication rules cannot exceed 1000",
    ],
    ["no rule", () => [], "MalformedXML", MALFORMED],
    ["a bad Status", () => [rule({ Status: "Perhaps" as never })], "MalformedXML", MALFORMED],
    ["an And with one predicate", () => [rule({ Filter: { And: { Prefix: "a" } } })], "MalformedXML", MALFORMED],
    ["Filter and Prefix together", () => [rule({ Prefix: "a" })], "MalformedXML", MALFORMED],
    [
      "what isn't built, by name",
      () => [rule({ SourceSelectionCriteria: { ReplicaModifications: { Status: "Enabled" } } })],
      "NotImplemented",
      "SourceSelectionCriteria/ReplicaModifications of a replication rule is not implemented",
    ],
  ];
  it.each(cases)("%s", async (_, rules, code, message, roleId) => {
    const attempt = putReplication(source, roleId?.() ?? role, rules());
    await expect(attempt).rejects.toMatchObject({ name: code, message });
  });

  it("a source that isn't versioned", async () => {
    const place = { ...source, bucket: "unversioned-bucket" };
    await expect(putReplication(place, role, [rule()])).rejects.toMatchObject({
      name: "InvalidRequest",
      message: "Versioning must be 'Enabled' on the bucket to apply a replication configuration",
    });
  });

  it("a caller whose policy limits which roles may be passed on", async () => {
    const policy = (expression: string) => ({
      "default-service-strategy": "deny",
      services: { sos: { type: "rules", rules: [{ action: "allow", expression }] } },
    });
    const limited = await makeRole(
      zones,
      policy(`operation == 'put-bucket-replication' && parameters.role == '${role}'`),
    );
    const { body } = await zones.control<{ key: string; secret: string }>("POST", "/api-key", {
      name: "limited",
      "role-id": limited,
    });
    const credentials = { accessKeyId: body.key, secretAccessKey: body.secret };
    const client = zones.s3("ch-dk-2", "main", { credentials });
    const another = await makeRole(zones, undefined);
    await expect(putReplication({ ...source, client }, another, [rule()])).rejects.toMatchObject({
      name: "AccessDenied",
    });
    await putReplication({ ...source, client }, role, [rule()]);
  });
});

describe("a replication configuration", () => {
  const get = async ({ client, bucket }: Place) =>
    (await client.send(new GetBucketReplicationCommand({ Bucket: bucket }))).ReplicationConfiguration;

  it("reads back as it was sent, ARNs, filters and all", async () => {
    const rules = [
      rule({ ID: "one", Destination: { Bucket: `arn:aws:s3:::${destination.bucket}`, StorageClass: "STANDARD_IA" } }),
      ruleTo(other.bucket, {
        ID: "two",
        Priority: 0,
        Filter: { And: { Prefix: "p", Tags: [tag, { Key: "a<&>", Value: " " }] } },
        DeleteMarkerReplication: { Status: "Disabled" },
      }),
    ];
    const arn = `arn:aws:iam::third-party:${role}`;
    await putReplication(source, arn, rules);
    expect(await get(source)).toEqual({ Role: arn, Rules: rules });
  });

  it("of a V1 rule reads back with DeleteMarkerReplication Disabled, and an absent ID is generated, the same each time", async () => {
    const v1 = { Prefix: "logs/", Status: "Enabled" as const, Destination: { Bucket: destination.bucket } };
    await putReplication(source, role, [v1]);
    const first = await get(source);
    expect(first!.Rules).toEqual([
      { ...v1, ID: expect.stringMatching(/.+/), DeleteMarkerReplication: { Status: "Disabled" } },
    ]);
    await putReplication(source, role, [v1]);
    expect(await get(source)).toEqual(first);
  });

  it("keeps versioning from being suspended, and is gone after DeleteBucketReplication", async () => {
    await putReplication(source, role, [rule()]);
    const suspend = new PutBucketVersioningCommand({
      Bucket: source.bucket,
      VersioningConfiguration: { Status: "Suspended" },
    });
    await expect(source.client.send(suspend)).rejects.toMatchObject({ name: "InvalidBucketState" });
    const answer = await source.client.send(new DeleteBucketReplicationCommand({ Bucket: source.bucket }));
    expect(answer.$metadata.httpStatusCode).toBe(204);
    await expect(get(source)).rejects.toMatchObject({
      name: "ReplicationConfigurationNotFoundError",
      message: "The replication configuration was not found",
    });
    await source.client.send(suspend);
  });
});
