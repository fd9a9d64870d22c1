/**
 * Object tags: the x-amz-tagging header. At most 10, keys of 1 to 128 and values of up to 256 characters, no key twice:
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html
 */
import { S3Error } from "../errors.ts";

const TAGS_MAX = 10;
const ALLOWED = /^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$/u;

/** Tags of a header, which is written like a query. Throws InvalidTag; InvalidArgument where the encoding is broken. */
export function parseTagging(header: string | null): Record<string, string> {
  const tags = new Map<string, string>();
  for (const pair of (header ?? "").split("&")) {
    if (pair === "") continue;
    const [key, value] = parsePair(pair);
    checkTag(key, value);
    if (tags.has(key)) throw new S3Error("InvalidTag", "Cannot provide multiple Tags with the same key");
    tags.set(key, value);
  }
  if (tags.size > TAGS_MAX) throw new S3Error("InvalidTag", "Object tags cannot be greater than 10");
  return Object.fromEntries(tags);
}

function parsePair(pair: string): [key: string, value: string] {
  const at = pair.indexOf("=");
  const texts = at < 0 ? [pair, ""] : [pair.slice(0, at), pair.slice(at + 1)];
  try {
    const [key = "", value = ""] = texts.map((text) => decodeURIComponent(text.replaceAll("+", " ")));
    return [key, value];
  } catch {
    throw new S3Error(
      "InvalidArgument",
      "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.",
      { ArgumentName: "x-amz-tagging" },
    );
  }
}

function checkTag(key: string, value: string): void {
  if (key === "" || key.length > 128 || !ALLOWED.test(key)) {
    throw new S3Error("InvalidTag", "The TagKey you have provided is invalid", { TagKey: key });
  }
  if (value.length > 256 || !ALLOWED.test(value)) {
    throw new S3Error("InvalidTag", "The TagValue you have provided is invalid", { TagKey: key });
  }
  if (key.startsWith("aws:")) {
    throw new S3Error("InvalidTag", "System tags cannot be added/updated by requester", { TagKey: key });
  }
}
