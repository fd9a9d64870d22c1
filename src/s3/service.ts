/** Operations on the account: ListBuckets. */
import { type DirectoryEntry, listBuckets } from "../directory.ts";
import type { Context } from "./context.ts";
import { operation } from "./operation.ts";
import { readLimit, readToken, writeToken } from "./page.ts";
import { type Node, xml, xmlResponse } from "./xml.ts";

/** https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListBuckets.html */
const MAX_BUCKETS = 10_000;

export const ListBuckets = operation("GET /", "list-buckets", async (ctx) => {
  const { organization } = ctx.identity;
  const limit = readLimit(ctx, "max-buckets", { least: 1, most: MAX_BUCKETS });
  const prefix = ctx.parameter("prefix");
  const found = await listBuckets(ctx.env, organization.id, {
    prefix,
    zone: ctx.parameter("bucket-region"),
    after: readToken(ctx),
    limit: limit + 1,
  });
  const buckets = found.slice(0, limit);
  const token = found.length > limit ? writeToken(buckets.at(-1)!.name) : undefined;
  return xmlResponse(
    xml("ListAllMyBucketsResult", [
      owner(ctx),
      ["Buckets", buckets.map(bucketElement)],
      ["ContinuationToken", token],
      ["Prefix", prefix],
    ]),
  );
});

/** The caller's organization as `<Owner>`: exo shows its DisplayName. */
export function owner(ctx: Context, element = "Owner"): Node {
  const { id, name } = ctx.identity.organization;
  return [
    element,
    [
      ["ID", id],
      ["DisplayName", name],
    ],
  ];
}

function bucketElement({ name, createdAt, zone }: DirectoryEntry): Node {
  return [
    "Bucket",
    [
      ["Name", name],
      ["CreationDate", new Date(createdAt).toISOString()],
      ["BucketRegion", zone],
    ],
  ];
}
