/**
 * User metadata: `x-amz-meta-*` in, `x-amz-meta-*` out.
 *
 * S3 decodes values by RFC 2047 before storing and encodes what isn't printable US-ASCII on the way back, so every
 * client can carry it (https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html). Clients in Go send
 * raw UTF-8, which workerd decodes for us; a byte that is no UTF-8 arrives as U+FFFD.
 */
import { S3Error } from "../errors.ts";
import { namesOf } from "./names.ts";

const PREFIX = "x-amz-meta-";
/** Sum of the UTF-8 bytes of names (without the prefix) and values. */
const METADATA_MAX_BYTES = 2048;
const WORD = "=\\?[!->@-~]+\\?[bq]\\?[!->@-~]*\\?=";
const WORDS = new RegExp(`${WORD}(?:\\s+${WORD})*`, "gi");
/** An encoded word is at most 75 characters, 63 of them text: RFC 2047 section 2. 45 bytes of base64 give 60. */
const WORD_MAX_BYTES = 45;

/** User metadata by lower-case name without the prefix. Throws MetadataTooLarge. */
export function readMetadata(headers: Headers): Record<string, string> {
  const metadata = new Map<string, string>();
  let size = 0;
  for (const name of namesOf(headers)) {
    if (!name.startsWith(PREFIX)) continue;
    const decoded = decodeWords(headers.get(name)!);
    metadata.set(name.slice(PREFIX.length), decoded);
    size += Buffer.byteLength(name) - PREFIX.length + Buffer.byteLength(decoded);
  }
  if (size > METADATA_MAX_BYTES) {
    throw new S3Error("MetadataTooLarge", undefined, { Size: size, MaxSizeAllowed: METADATA_MAX_BYTES });
  }
  return Object.fromEntries(metadata);
}

export function writeMetadata(headers: Map<string, string>, metadata: Record<string, string>): void {
  for (const [name, value] of Object.entries(metadata)) headers.set(PREFIX + name, encodeWords(value));
}

/** Text as encoded words where it isn't printable US-ASCII through and through. */
export function encodeWords(text: string): string {
  if (/^[\x20-\x7E\t]*$/.test(text)) return text;
  return chunks(text)
    .map((chunk) => `=?UTF-8?B?${Buffer.from(chunk).toString("base64")}?=`)
    .join(" ");
}

/** Encoded words as the text that they stand for; space between two of them is part of the encoding, not of the text. */
export function decodeWords(text: string): string {
  return text.replace(WORDS, (words) => {
    const decoded = words.split(/\s+/).map(decodeWord);
    return decoded.includes(undefined) ? words : decoded.join("");
  });
}

/** undefined: the word stands for no text that we know. */
function decodeWord(word: string): string | undefined {
  const [, charset = "", encoding = "", encoded = ""] = word.split("?");
  return decodeCharset(charset, encoding.toLowerCase() === "b" ? Buffer.from(encoded, "base64") : decodeQ(encoded));
}

/** Whole characters in pieces of at most WORD_MAX_BYTES, since each encoded word must stand for whole characters. */
function chunks(text: string): string[] {
  const pieces = [""];
  for (const char of text) {
    const last = pieces.at(-1)!;
    if (Buffer.byteLength(last + char) <= WORD_MAX_BYTES) pieces[pieces.length - 1] = last + char;
    else pieces.push(char);
  }
  return pieces;
}

function decodeQ(encoded: string): Buffer {
  const latin1 = encoded
    .replaceAll("_", " ")
    .replace(/=([0-9A-F]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(latin1, "latin1");
}

/** undefined: not a charset that we know, or not text in it. */
function decodeCharset(charset: string, bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder(charset, { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}
