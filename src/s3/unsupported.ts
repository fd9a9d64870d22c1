/**
 * What S3 has and we don't: each operation by its name and the request that means it, answered 501 NotImplemented, so
 * that nothing a client asks for is ignored in silence.
 *
 * Gaps inside operations that are there:
 *
 * | operation                          | what is missing                                                             |
 * | ---------------------------------- | --------------------------------------------------------------------------- |
 * | all                                | callers without a signature, bucket policies, ACLs for others (AccessDenied) |
 * | all                                | SSE-C, SSE-KMS, object lock (501); SSE-S3 is what every object has          |
 * | CreateBucket                       | object lock, object ownership, bucket tags, directory buckets (501)         |
 * | PutBucketVersioning                | MFA delete (501)                                                            |
 * | PutBucketReplication               | ReplicaModifications, ReplicationTime, KMS (501)                            |
 * | PutBucketAcl, PutObjectAcl         | all but full control for the owner (AccessControlListNotSupported)          |
 * | GetObject, HeadObject              | several ranges: the whole object, as with S3                                |
 * | DeleteObjects                      | LastModifiedTime and Size as conditions (501)                               |
 * | CopyObject, UploadPartCopy         | access points; sources in a zone that no binding leads to (501)             |
 * | CopyObject                         | a multipart source's ETag and composite checksum: a copy is a single body   |
 * | PutObject without a checksum       | S3 would add a CRC64NVME of its own                                         |
 * | ListBuckets                        | BucketArn                                                                   |
 */
import { S3Error } from "../errors.ts";
import { Operation } from "./operation.ts";

/** Sub-resources of a bucket, by S3's name for what they configure: Get, Put and Delete, and List where there are many. */
const CONFIGURATIONS: [subresource: string, operations: Record<string, string>][] = [
  ["abac", { GET: "GetBucketAbac", PUT: "PutBucketAbac" }],
  ["accelerate", { GET: "GetBucketAccelerateConfiguration", PUT: "PutBucketAccelerateConfiguration" }],
  ["analytics", { GET: "ListBucketAnalyticsConfigurations" }],
  [
    "analytics&id",
    {
      GET: "GetBucketAnalyticsConfiguration",
      PUT: "PutBucketAnalyticsConfiguration",
      DELETE: "DeleteBucketAnalyticsConfiguration",
    },
  ],
  ["cors", { PUT: "PutBucketCors", DELETE: "DeleteBucketCors" }],
  ["encryption", { GET: "GetBucketEncryption", PUT: "PutBucketEncryption", DELETE: "DeleteBucketEncryption" }],
  ["intelligent-tiering", { GET: "ListBucketIntelligentTieringConfigurations" }],
  [
    "intelligent-tiering&id",
    {
      GET: "GetBucketIntelligentTieringConfiguration",
      PUT: "PutBucketIntelligentTieringConfiguration",
      DELETE: "DeleteBucketIntelligentTieringConfiguration",
    },
  ],
  ["inventory", { GET: "ListBucketInventoryConfigurations" }],
  [
    "inventory&id",
    {
      GET: "GetBucketInventoryConfiguration",
      PUT: "PutBucketInventoryConfiguration",
      DELETE: "DeleteBucketInventoryConfiguration",
    },
  ],
  [
    "lifecycle",
    { GET: "GetBucketLifecycleConfiguration", PUT: "PutBucketLifecycleConfiguration", DELETE: "DeleteBucketLifecycle" },
  ],
  ["logging", { GET: "GetBucketLogging", PUT: "PutBucketLogging" }],
  [
    "metadataConfiguration",
    {
      GET: "GetBucketMetadataConfiguration",
      POST: "CreateBucketMetadataConfiguration",
      DELETE: "DeleteBucketMetadataConfiguration",
    },
  ],
  [
    "metadataTable",
    {
      GET: "GetBucketMetadataTableConfiguration",
      POST: "CreateBucketMetadataTableConfiguration",
      DELETE: "DeleteBucketMetadataTableConfiguration",
    },
  ],
  ["metadataInventoryTable", { PUT: "UpdateBucketMetadataInventoryTableConfiguration" }],
  ["metadataJournalTable", { PUT: "UpdateBucketMetadataJournalTableConfiguration" }],
  ["metrics", { GET: "ListBucketMetricsConfigurations" }],
  [
    "metrics&id",
    {
      GET: "GetBucketMetricsConfiguration",
      PUT: "PutBucketMetricsConfiguration",
      DELETE: "DeleteBucketMetricsConfiguration",
    },
  ],
  ["notification", { GET: "GetBucketNotificationConfiguration", PUT: "PutBucketNotificationConfiguration" }],
  ["object-lock", { GET: "GetObjectLockConfiguration", PUT: "PutObjectLockConfiguration" }],
  ["ownershipControls", { PUT: "PutBucketOwnershipControls", DELETE: "DeleteBucketOwnershipControls" }],
  ["policy", { GET: "GetBucketPolicy", PUT: "PutBucketPolicy", DELETE: "DeleteBucketPolicy" }],
  ["policyStatus", { GET: "GetBucketPolicyStatus" }],
  [
    "publicAccessBlock",
    { GET: "GetPublicAccessBlock", PUT: "PutPublicAccessBlock", DELETE: "DeletePublicAccessBlock" },
  ],
  ["requestPayment", { GET: "GetBucketRequestPayment", PUT: "PutBucketRequestPayment" }],
  ["session", { GET: "CreateSession" }],
  ["tagging", { GET: "GetBucketTagging", PUT: "PutBucketTagging", DELETE: "DeleteBucketTagging" }],
  ["website", { GET: "GetBucketWebsite", PUT: "PutBucketWebsite", DELETE: "DeleteBucketWebsite" }],
];

const OF_OBJECTS: [subresource: string, operations: Record<string, string>][] = [
  ["attributes", { GET: "GetObjectAttributes" }],
  ["encryption", { PUT: "UpdateObjectEncryption" }],
  ["legal-hold", { GET: "GetObjectLegalHold", PUT: "PutObjectLegalHold" }],
  ["renameObject", { PUT: "RenameObject" }],
  ["restore", { POST: "RestoreObject" }],
  ["retention", { GET: "GetObjectRetention", PUT: "PutObjectRetention" }],
  ["select", { POST: "SelectObjectContent" }],
  ["torrent", { GET: "GetObjectTorrent" }],
];

export const unsupported: Operation[] = [
  ...CONFIGURATIONS.flatMap((entry) => refusals("/:bucket", entry)),
  ...OF_OBJECTS.flatMap((entry) => refusals("/:bucket/:key+", entry)),
  refusal("POST /:bucket", "PostObject"),
  refusal("OPTIONS /:bucket", "OptionsBucket"),
  refusal("OPTIONS /:bucket/:key+", "OptionsObject"),
];

function refusals(path: string, [subresource, operations]: [string, Record<string, string>]): Operation[] {
  return Object.entries(operations).map(([method, name]) => refusal(`${method} ${path}?${subresource}`, name));
}

/** Refused before anybody is asked for permission: a browser's form, for one, carries its signature in its body. */
function refusal(pattern: string, name: string): Operation {
  const refuse = () => {
    throw new S3Error("NotImplemented", `${name} is not implemented.`, { Operation: name });
  };
  const operation = new Operation(pattern, [], refuse, { isAnswered: "anywhere", authorizes: "nothing" });
  return Object.assign(operation, { name });
}
