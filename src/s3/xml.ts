/**
 * XML, both ways.
 *
 * Reading is strict: one root of the expected name, no DTD, no text outside it, no character that XML can't carry, no
 * entity but the five of XML and numeric ones (exo sends `&#34;` around ETags); all else is MalformedXML. Text keeps
 * its spaces (a key may end in one) and is never taken for a number. Names lose their prefix, since some clients
 * write `<ns0:Delete>`.
 *
 * What surprised us: the validator of fast-xml-parser lets `<a/>text` and `<a/><b/>` pass, and its parser drops the
 * text. So the document is put into an element of ours first, and what stands beside the root becomes visible.
 */
import { XMLParser, XMLValidator } from "fast-xml-parser";
import { S3Error } from "../errors.ts";

export const NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/";
const DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n';

/** CompleteMultipartUpload with 10,000 parts and their checksums has some 80,000. */
const MAX_TAGS = 250_000;

const ENVELOPE = "zonal-envelope";
const NOT_XML = /[^\t\n\r\u0020-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]/u;
const SECTIONS = [
  ["<!--", "-->"],
  ["<![CDATA[", "]]>"],
] as const;
const ENTITIES = new Map([
  ["amp", "&"],
  ["lt", "<"],
  ["gt", ">"],
  ["quot", '"'],
  ["apos", "'"],
]);

const parser = new XMLParser({
  preserveOrder: true,
  processEntities: false,
  trimValues: false,
  parseTagValue: false,
  ignoreAttributes: false,
  attributeNamePrefix: "",
  cdataPropName: "#cdata",
  ignorePiTags: true,
  removeNSPrefix: true,
  maxNestedTags: 32,
});

/** fast-xml-parser's node with `preserveOrder`: one name with its children, and the attributes under `:@`. */
type RawNode = Record<string, unknown>;

/** An element that was read. Questions about children throw MalformedXML where the schema is broken. */
export class XmlElement {
  readonly name: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly children: readonly XmlElement[];
  /** its own text, entities decoded, not trimmed */
  readonly text: string;

  constructor(name: string, node: RawNode) {
    const content = node[name] as RawNode[];
    this.name = name;
    this.attributes = (node[":@"] as Record<string, string> | undefined) ?? {};
    this.children = content.flatMap((child) => toElement(child) ?? []);
    this.text = content.map(toText).join("");
  }

  all(name: string): XmlElement[] {
    return this.children.filter((child) => child.name === name);
  }

  /** The child of this name, which may stand there once. */
  get(name: string): XmlElement | undefined {
    const [first, second] = this.all(name);
    if (second) throw malformed();
    return first;
  }

  /** The text of the child of this name, undefined if there is no such child. */
  textOf(name: string): string | undefined {
    return this.get(name)?.text;
  }

  /** Refuses children of any other name. */
  allow(...names: string[]): this {
    if (this.children.some((child) => !names.includes(child.name))) throw malformed();
    return this;
  }
}

/** The root element of a document. Throws MalformedXML, also if the root has another name. */
export function parseXml(document: string | Uint8Array, rootName: string): XmlElement {
  const text = (typeof document === "string" ? document : decodeUtf8(document)).replace(/^\uFEFF/, "");
  const withoutDeclaration = text.replace(/^<\?xml\s[^>]*\?>/, "");
  refuseDtd(withoutDeclaration);
  const root = rootOf(parse(`<${ENVELOPE}>${withoutDeclaration}</${ENVELOPE}>`));
  if (root.name !== rootName) throw malformed();
  return root;
}

export function malformed(message?: string): S3Error {
  return new S3Error("MalformedXML", message);
}

function decodeUtf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw malformed();
  }
}

/** `<!` may begin a comment or CDATA, nothing else. No regular expression: an end that is missing would cost n squared. */
/** Each tag becomes an object of some 250 bytes: counted before they do. */
function countTags(text: string): number {
  let count = 0;
  for (let at = text.indexOf("<"); at >= 0; at = text.indexOf("<", at + 1)) count++;
  return count;
}

function refuseDtd(text: string): void {
  if (NOT_XML.test(text) || countTags(text) > MAX_TAGS) throw malformed();
  for (let at = text.indexOf("<!"); at >= 0; ) {
    const [, end] = SECTIONS.find(([start]) => text.startsWith(start, at)) ?? [];
    const closed = end === undefined ? -1 : text.indexOf(end, at + end.length);
    if (closed < 0) throw malformed();
    at = text.indexOf("<!", closed);
  }
}

function parse(text: string): RawNode[] {
  if (XMLValidator.validate(text) !== true) throw malformed();
  try {
    return parser.parse(text) as RawNode[];
  } catch {
    throw malformed();
  }
}

function rootOf(nodes: RawNode[]): XmlElement {
  const envelope = nodes.length === 1 ? toElement(nodes[0]!) : undefined;
  const [root, second] = envelope?.children ?? [];
  if (envelope?.name !== ENVELOPE || !root || second || envelope.text.trim() !== "") throw malformed();
  return root;
}

function toElement(node: RawNode): XmlElement | undefined {
  const name = Object.keys(node).find((key) => key !== ":@" && !key.startsWith("#"));
  return name === undefined ? undefined : new XmlElement(name, node);
}

function toText(node: RawNode): string {
  if (typeof node["#text"] === "string") return decodeEntities(node["#text"]);
  const cdata = node["#cdata"] as RawNode[] | undefined;
  return cdata ? cdata.map((part) => String(part["#text"] ?? "")).join("") : "";
}

function decodeEntities(text: string): string {
  return text.replace(/&([^;]*);?/g, (entity, name: string) => {
    const char = ENTITIES.get(name) ?? numericEntity(name);
    if (char === undefined || !entity.endsWith(";")) throw malformed();
    return char;
  });
}

function numericEntity(name: string): string | undefined {
  const match = /^#(?:x([0-9a-fA-F]{1,6})|([0-9]{1,7}))$/.exec(name);
  if (!match) return undefined;
  const code = match[1] ? Number.parseInt(match[1], 16) : Number(match[2]);
  if (code > 0x10ffff) return undefined;
  const char = String.fromCodePoint(code);
  return NOT_XML.test(char) ? undefined : char;
}

/** What stands in an element that is written: text, or elements in order. */
export type Content = string | number | boolean | readonly (Node | undefined)[];
/** An element to be written; `undefined` content leaves it out. */
export type Node = readonly [name: string, content: Content | undefined, attributes?: Record<string, string>];

/** A document of S3's namespace (errors alone have none: hand in `null`). */
export function xml(name: string, content: Content, namespace: string | null = NAMESPACE): string {
  return DECLARATION + write([name, content, namespace === null ? undefined : { xmlns: namespace }]);
}

/** A 200 with a document. */
export function xmlResponse(document: string, init: { status?: number; headers?: HeadersInit } = {}): Response {
  const headers = new Headers(init.headers);
  headers.set("content-type", "application/xml");
  headers.set("content-length", String(Buffer.byteLength(document)));
  return new Response(document, { status: init.status ?? 200, headers });
}

function write(node: Node | undefined): string {
  if (!node || node[1] === undefined) return "";
  const [name, content, attributes = {}] = node;
  const start = Object.entries(attributes).reduce((tag, [key, value]) => `${tag} ${key}="${escapeXml(value)}"`, name);
  const inner = typeof content === "object" ? content.map(write).join("") : escapeXml(String(content));
  return `<${start}>${inner}</${name}>`;
}

/** Control characters become numeric references, as S3 writes them, although XML 1.0 has no way to carry most of them. */
function escapeXml(text: string): string {
  return text.replace(/[&<>"\p{Cc}\uFFFE\uFFFF]/gu, (char) => ESCAPES[char] ?? numericReference(char));
}

const ESCAPES: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

function numericReference(char: string): string {
  return `&#x${char.charCodeAt(0).toString(16)};`;
}
