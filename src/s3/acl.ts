/**
 * ACLs, as far as buckets of BucketOwnerEnforced know them, which all are: the owner has full control, nobody else has
 * anything, and a write is taken only if it says just that (exo sends such without being asked). Everything else is
 * AccessControlListNotSupported.
 *
 * What surprised us: clients find `xsi:type` only where `xmlns:xsi` is declared on the same `<Grantee>`.
 */
import { S3Error } from "../errors.ts";
import { getBucket } from "../store/buckets.ts";
import { type Context, hasGrants } from "./context.ts";
import { readOptionalXml } from "./document.ts";
import { findExisting } from "./find.ts";
import { namesOf } from "./names.ts";
import { operation } from "./operation.ts";
import { owner } from "./service.ts";
import { type XmlElement, xml, xmlResponse } from "./xml.ts";

const OWNERS_OWN = ["private", "bucket-owner-full-control"];
const CANNED = [
  ...OWNERS_OWN,
  "public-read",
  "public-read-write",
  "authenticated-read",
  "aws-exec-read",
  "bucket-owner-read",
  "log-delivery-write",
];

export const GetBucketAcl = operation("GET /:bucket?acl", "get-bucket-acl", async (ctx) => {
  await getBucket(ctx.env, ctx.entry.bucketId);
  return aclResponse(ctx);
});

export const GetObjectAcl = operation("GET /:bucket/:key+?acl", "get-object-acl", async (ctx) => {
  await findExisting(ctx);
  return aclResponse(ctx);
});

export const PutBucketAcl = operation("PUT /:bucket?acl", "put-bucket-acl", async (ctx) => {
  await requireOwnersAcl(ctx);
  await getBucket(ctx.env, ctx.entry.bucketId);
  return new Response(null);
});

export const PutObjectAcl = operation("PUT /:bucket/:key+?acl", "put-object-acl", async (ctx) => {
  await requireOwnersAcl(ctx);
  await findExisting(ctx);
  return new Response(null);
});

/** Throws unless the ACL headers of a request, if there are any, give just the owner full control. */
export function checkAclHeaders(ctx: Context): void {
  const canned = ctx.headers.get("x-amz-acl");
  if (canned !== null && hasGrants(ctx.headers)) {
    throw new S3Error("InvalidRequest", "Specifying both Canned ACLs and Header Grants is not allowed");
  }
  if (canned !== null && !CANNED.includes(canned)) {
    throw new S3Error("InvalidArgument", undefined, { ArgumentName: "x-amz-acl", ArgumentValue: canned });
  }
  if (canned !== null && !OWNERS_OWN.includes(canned)) throw new S3Error("AccessControlListNotSupported");
  for (const name of namesOf(ctx.headers)) {
    if (name.startsWith("x-amz-grant-")) checkGrant(ctx, name, ctx.headers.get(name)!);
  }
}

/** The ACL of an ACL write, in headers or as a document. Throws AccessControlListNotSupported, MalformedXML. */
async function requireOwnersAcl(ctx: Context): Promise<void> {
  const isInHeaders = ctx.headers.has("x-amz-acl") || hasGrants(ctx.headers);
  const document = await readOptionalXml(ctx, "AccessControlPolicy");
  if (isInHeaders && document) throw new S3Error("UnexpectedContent");
  if (isInHeaders) return checkAclHeaders(ctx);
  if (!document) throw new S3Error("MissingRequestBodyError");
  const grants = document.get("AccessControlList")?.all("Grant");
  if (!grants) throw new S3Error("MalformedXML");
  if (grants.length !== 1 || !isOwnersGrant(ctx, grants[0]!)) throw new S3Error("AccessControlListNotSupported");
}

function isOwnersGrant(ctx: Context, grant: XmlElement): boolean {
  const id = grant.get("Grantee")?.textOf("ID");
  return id === ctx.identity.organization.id && grant.textOf("Permission") === "FULL_CONTROL";
}

/** `id="..."` pairs, comma separated; the quotes may be missing. */
function checkGrant(ctx: Context, name: string, value: string): void {
  const grantees = value.split(",").map((grantee) => /^\s*(\w+)="?([^"]*?)"?\s*$/.exec(grantee));
  if (grantees.some((grantee) => !grantee || !["id", "uri", "emailAddress"].includes(grantee[1]!))) {
    throw new S3Error("InvalidArgument", "Argument format not recognized", { ArgumentName: name });
  }
  const isOwners = grantees.every((grantee) => grantee![1] === "id" && grantee![2] === ctx.identity.organization.id);
  if (name !== "x-amz-grant-full-control" || !isOwners) throw new S3Error("AccessControlListNotSupported");
}

function aclResponse(ctx: Context): Response {
  const [, identity] = owner(ctx);
  const grantee = { "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance", "xsi:type": "CanonicalUser" };
  return xmlResponse(
    xml("AccessControlPolicy", [
      owner(ctx),
      [
        "AccessControlList",
        [
          [
            "Grant",
            [
              ["Grantee", identity, grantee],
              ["Permission", "FULL_CONTROL"],
            ],
          ],
        ],
      ],
    ]),
  );
}
