/**
 * The x-amz-copy-source header: `[/]BUCKET/KEY[?versionId=ID]`.
 *
 * Clients percent-encode it, or don't: exo sends raw UTF-8 with spaces for one command and encodes even the slashes of
 * the key for another. `+` is itself in both, and so is a `%` that begins no escape. A raw key that holds a valid
 * escape can't be told from an encoded one: it is looked for decoded first, then as it stands.
 */
import { S3Error } from "../errors.ts";
import type { Checksum, Description } from "../store/versions.ts";
import type { ByteRange } from "./conditions.ts";
import { checkVersionId } from "./versionid.ts";

export interface CopySource {
  bucket: string;
  key: string;
  versionId: string | undefined;
}

/** A source that was found and may be read. */
export interface OpenSource extends Omit<Description, "tags"> {
  bucket: string;
  key: string;
  etag: string;
  /** milliseconds */
  lastModified: number;
  size: number;
  /** as shown; undefined in a bucket that was never versioned */
  versionId: string | undefined;
  checksum: Checksum | null;
  tags(): Promise<Record<string, string>>;
  /** a stream whose length workerd knows */
  read(range?: ByteRange): Promise<ReadableStream<Uint8Array>>;
}

/** What the header may mean, in the order to be tried. Throws InvalidArgument, NotImplemented for access points. */
export function parseCopySource(header: string): [CopySource, ...CopySource[]] {
  if (header.startsWith("arn:")) throw new S3Error("NotImplemented", "Access points are not implemented.");
  const at = header.lastIndexOf("?versionId=");
  const path = (at < 0 ? header : header.slice(0, at)).replace(/^\//, "");
  const versionId = at < 0 ? undefined : checkVersionId(header.slice(at + 11), "versionId");
  const literal = split(path);
  const decoded = split(literal ? path : decode(path));
  if (!decoded) {
    throw new S3Error("InvalidArgument", "Copy Source must mention the source bucket and key: sourcebucket/sourcekey", {
      ArgumentName: "x-amz-copy-source",
      ArgumentValue: header,
    });
  }
  const source = { bucket: decode(decoded.bucket), key: literal ? decode(decoded.key) : decoded.key, versionId };
  return !literal || source.key === literal.key ? [source] : [source, { ...source, key: literal.key }];
}

function split(path: string): { bucket: string; key: string } | undefined {
  const slash = path.indexOf("/");
  return slash < 1 || slash === path.length - 1
    ? undefined
    : { bucket: path.slice(0, slash), key: path.slice(slash + 1) };
}

/** Percent-escapes that are UTF-8 together are decoded; everything else is itself. */
function decode(text: string): string {
  return text.replace(/(?:%[0-9a-fA-F]{2})+/g, (escapes) => {
    try {
      return decodeURIComponent(escapes);
    } catch {
      return escapes;
    }
  });
}
