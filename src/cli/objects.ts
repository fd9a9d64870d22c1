/**
 * A bucket's objects and versions, page by page.
 *
 * Asked for with `encoding-type=url`, so that keys come through which XML can't carry. Decoded only where the answer
 * says that it encoded: not every S3 does.
 */
import type { S3Client } from "./client.ts";
import { children, type Element, leaf } from "./xml.ts";

export interface Listed {
  key: string;
  /** bytes */
  size: number;
  lastModified: string;
  versionId?: string;
}

export interface Page {
  objects: Listed[];
  /** common prefixes, with the delimiter at their end */
  prefixes: string[];
}

export interface ListQuery {
  bucket: string;
  prefix: string;
  /** all keys below the prefix, not only the next level */
  recursive: boolean;
}

/** ListObjectsV2 to its end. */
export async function* listObjects(s3: S3Client, { bucket, prefix, recursive }: ListQuery): AsyncGenerator<Page> {
  for (let token: string | undefined; ; ) {
    const query = {
      "list-type": "2",
      "encoding-type": "url",
      prefix,
      ...(!recursive && { delimiter: "/" }),
      ...(token !== undefined && { "continuation-token": token }),
    };
    const result = await s3.callXml({ method: "GET", bucket, query }, "ListBucketResult");
    yield pageOf(result, "Contents");
    token = leaf(result, "NextContinuationToken");
    if (leaf(result, "IsTruncated") !== "true" || token === undefined) return;
  }
}

/** ListObjectVersions to its end, without the delete markers. */
export async function* listVersions(s3: S3Client, { bucket, prefix, recursive }: ListQuery): AsyncGenerator<Page> {
  for (let markers: Record<string, string> = {}; ; ) {
    const query = {
      versions: "",
      "encoding-type": "url",
      prefix,
      ...(!recursive && { delimiter: "/" }),
      ...markers,
    };
    const result = await s3.callXml({ method: "GET", bucket, query }, "ListVersionsResult");
    yield pageOf(result, "Version");
    const keyMarker = leaf(result, "NextKeyMarker");
    if (leaf(result, "IsTruncated") !== "true" || keyMarker === undefined) return;
    const versionIdMarker = leaf(result, "NextVersionIdMarker");
    markers = {
      "key-marker": decoder(result)(keyMarker),
      ...(versionIdMarker && { "version-id-marker": versionIdMarker }),
    };
  }
}

/**
 * The objects that an address of `download` and `delete` means: the prefix's own level, or with `recursive` all below it.
 * A prefix without a slash at its end is one key, unless it is recursive.
 */
export async function* selectObjects(s3: S3Client, query: ListQuery): AsyncGenerator<Listed> {
  const { prefix, recursive } = query;
  const isLevel = prefix === "" || prefix.endsWith("/");
  for await (const page of listObjects(s3, query)) {
    for (const object of page.objects) if (recursive || isLevel || object.key === prefix) yield object;
    // The key itself stands before all that begin with it.
    if (!recursive && !isLevel && page.objects.length > 0) return;
  }
}

function pageOf(result: Element, name: "Contents" | "Version"): Page {
  const decode = decoder(result);
  return {
    objects: children(result, name).map((element) => ({
      key: decode(leaf(element, "Key") ?? ""),
      size: Number(leaf(element, "Size") ?? 0),
      lastModified: leaf(element, "LastModified") ?? "",
      ...(name === "Version" && { versionId: leaf(element, "VersionId") ?? "null" }),
    })),
    prefixes: children(result, "CommonPrefixes").map((element) => decode(leaf(element, "Prefix") ?? "")),
  };
}

/** Decodes a listing's keys, if they are encoded. S3 writes a space as a plus. */
export function decoder(result: Element): (text: string) => string {
  const isEncoded = leaf(result, "EncodingType") === "url";
  return (text) => (isEncoded ? decodeURIComponent(text.replaceAll("+", " ")) : text);
}
