/**
 * Object tags, as the x-amz-tagging header and as a document. At most 10, keys of 1 to 128 and values of up to 256
 * characters, no key twice: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html
 */
import { S3Error } from "../errors.ts";
import { type Node, type XmlElement, xml } from "./xml.ts";

const TAGS_MAX = 10;
const ALLOWED = /^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$/u;

export type Tags = Record<string, string>;

/** Tags of a header, which is written like a query. Throws InvalidTag; InvalidArgument where the encoding is broken. */
export function parseTagging(header: string | null): Tags {
  const pairs = (header ?? "").split("&").filter((pair) => pair !== "");
  return collectTags(pairs.map(parsePair));
}

/** Tags of a `<Tagging>` document. Throws MalformedXML, InvalidTag. */
export function readTagging(document: XmlElement): Tags {
  const set = document.get("TagSet");
  if (!set) throw new S3Error("MalformedXML");
  const pairs = set.all("Tag").map((tag): [string, string] => {
    const [key, value] = [tag.textOf("Key"), tag.textOf("Value")];
    if (key === undefined || value === undefined) throw new S3Error("MalformedXML");
    return [key, value];
  });
  return collectTags(pairs);
}

/** The `<Tagging>` document of tags. */
export function writeTagging(tags: Tags): string {
  const nodes = Object.entries(tags).map(([key, value]): Node => {
    const children: Node[] = [
      ["Key", key],
      ["Value", value],
    ];
    return ["Tag", children];
  });
  return xml("Tagging", [["TagSet", nodes]]);
}

function collectTags(pairs: [key: string, value: string][]): Tags {
  const tags = new Map<string, string>();
  for (const [key, value] of pairs) {
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
