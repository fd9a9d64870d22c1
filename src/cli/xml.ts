/**
 * S3's XML, read and written.
 *
 * The parser's own entity handling stays off: it counts expansions and gives up at 1,000, which is a listing of 500 keys
 * (each ETag has two `&quot;`), and a document could define entities of its own. XML's five and numeric references are
 * decoded here, in one pass, so `&amp;quot;` stays `&quot;`. Values keep their spaces: a key may end with one.
 */
import { XMLParser } from "fast-xml-parser";

/** An element: its children by name, its attributes by `@name`. Leaves are strings, what may repeat is an array. */
export type Element = { [name: string]: Node | undefined };
export type Node = string | Element | Node[];

const REPEATED = new Set([
  "AllowedHeader",
  "AllowedMethod",
  "AllowedOrigin",
  "CommonPrefixes",
  "Contents",
  "CORSRule",
  "Deleted",
  "Error",
  "Grant",
  "Rule",
  "Tag",
  "Upload",
  "Version",
]);
const NAMED: Record<string, string> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };

const parser = new XMLParser({
  processEntities: false,
  parseTagValue: false,
  parseAttributeValue: false,
  trimValues: false,
  ignoreAttributes: false,
  attributeNamePrefix: "@",
  ignoreDeclaration: true,
  // the root `<Error>` of an error answer stays a single element
  isArray: (name, path) => REPEATED.has(name) && path !== name,
  tagValueProcessor: (_, value) => decode(value),
  attributeValueProcessor: (_, value) => decode(value),
});

/** The root element `name`; undefined where the text is no XML or has another root. */
export function parseXml(text: string, name: string): Element | undefined {
  try {
    const root = (parser.parse(text) as Element)[name];
    return root === "" ? {} : typeof root === "object" && !Array.isArray(root) ? root : undefined;
  } catch {
    // The parser throws on what is no XML at all, say a proxy's HTML page; the caller says what came instead.
    return undefined;
  }
}

/** A leaf's text, or undefined. */
export function leaf(element: Element | undefined, name: string): string | undefined {
  const value = element?.[name];
  return typeof value === "string" ? value : undefined;
}

export function child(element: Element | undefined, name: string): Element | undefined {
  const value = element?.[name];
  return typeof value === "object" && !Array.isArray(value) ? value : undefined;
}

/** The elements of a name that may repeat; an empty one is `{}`. */
export function children(element: Element | undefined, name: string): Element[] {
  const value = element?.[name];
  return Array.isArray(value) ? value.map((one) => (typeof one === "object" ? (one as Element) : {})) : [];
}

/** The texts of a leaf that may repeat. */
export function leaves(element: Element | undefined, name: string): string[] {
  const value = element?.[name];
  return Array.isArray(value) ? value.filter((one) => typeof one === "string") : [];
}

/** A document in S3's namespace. Children stand in the order of their names, as the AWS SDKs have them. */
export function writeXml(root: string, content: Element): string {
  return `<${root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${writeChildren(content)}</${root}>`;
}

function writeChildren(element: Element): string {
  return Object.keys(element)
    .sort()
    .flatMap((name) => [element[name]].flat().map((value) => [name, value] as const))
    .map(([name, value]) => (value === undefined ? "" : `<${name}>${writeNode(value)}</${name}>`))
    .join("");
}

function writeNode(node: Node): string {
  if (typeof node === "string") return escapeText(node);
  return Array.isArray(node) ? node.map(writeNode).join("") : writeChildren(node);
}

/** Line ends become references: a parser turns a bare CR into LF. */
function escapeText(text: string): string {
  return text.replace(/[&<>"'\r\n\t]/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** False for a text that XML 1.0 can't carry, not even by reference. */
export function fitsXml(text: string): boolean {
  return [...text].every((c) => c >= " " || "\t\n\r".includes(c)) && !/[\ufffe\uffff]/.test(text);
}

function decode(text: string): string {
  return text.replace(/&(?:#x([0-9a-f]+)|#(\d+)|(amp|lt|gt|quot|apos));/gi, (_, hex, decimal, name) =>
    name ? (NAMED[name.toLowerCase()] ?? "") : String.fromCodePoint(Number.parseInt(hex ?? decimal, hex ? 16 : 10)),
  );
}
