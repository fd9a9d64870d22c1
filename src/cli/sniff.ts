/**
 * An object's content type by its first bytes, as `exo` finds it: a name's ending says nothing.
 * Below 512 bytes there is none, and S3 stores its default.
 */
const SNIFFED_BYTES = 512;

/** Where the bytes stand, the bytes as Latin-1, and what they mean. */
const MAGIC: readonly (readonly [at: number, bytes: string, type: string])[] = [
  [0, "%PDF-", "application/pdf"],
  [0, "%!PS-Adobe-", "application/postscript"],
  [0, "\x89PNG\r\n\x1a\n", "image/png"],
  [0, "\xff\xd8\xff", "image/jpeg"],
  [0, "GIF87a", "image/gif"],
  [0, "GIF89a", "image/gif"],
  [8, "WEBPVP", "image/webp"],
  [8, "WAVE", "audio/wave"],
  [0, "ID3", "audio/mpeg"],
  [0, "OggS\0", "application/ogg"],
  [4, "ftyp", "video/mp4"],
  [0, "\x1a\x45\xdf\xa3", "video/webm"],
  [0, "PK\x03\x04", "application/zip"],
  [0, "\x1f\x8b\x08", "application/x-gzip"],
  [0, "\0asm", "application/wasm"],
];
const HTML = /^\s*<(!doctype html|html|head|body|script|iframe|table|div|title|style|p|h1|a|br)[ >]/i;
const XML = /^\s*<\?xml/;

/** `head` is the content's first 512 bytes. Undefined where there are fewer. */
export function contentType(head: Buffer): string | undefined {
  if (head.length < SNIFFED_BYTES) return undefined;
  const text = head.toString("latin1");
  const known = MAGIC.find(([at, bytes]) => text.startsWith(bytes, at));
  if (known) return known[2];
  if (!isText(head)) return "application/octet-stream";
  const kind = HTML.test(text) ? "html" : XML.test(text) ? "xml" : "plain";
  return `text/${kind}; charset=utf-8`;
}

/** UTF-8 (its last character may be cut) without the control characters that text doesn't have. */
function isText(head: Buffer): boolean {
  if (head.some((byte) => byte < 0x20 && ![0x09, 0x0a, 0x0c, 0x0d, 0x1b].includes(byte))) return false;
  try {
    new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(head, { stream: true });
    return true;
  } catch {
    return false;
  }
}
