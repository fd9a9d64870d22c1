/**
 * What all listings share: how many entries, from where on, and how keys are written.
 *
 * A continuation token is a key in base64url: opaque to clients, and nothing internal. An empty one, which exo sends
 * with the first page of every listing, means none.
 */
import { invalidArgument } from "../errors.ts";
import type { ListPage } from "../store/listing.ts";
import type { Context } from "./context.ts";
import { encodeKey } from "./target.ts";
import type { Node } from "./xml.ts";

/** A number of a parameter between `least` and `most`, `most` where it is absent or more. Throws InvalidArgument. */
export function readLimit(ctx: Context, name: string, { least, most }: { least: number; most: number }): number {
  const text = ctx.parameter(name) || undefined;
  const value = text === undefined ? most : readNumber(name, text);
  if (value < least)
    throw invalidArgument(name, text, `Argument ${name} must be an integer between ${least} and ${most}`);
  return Math.min(value, most);
}

/** A whole number of 32 bits, as S3 takes them: digits only. Throws InvalidArgument. */
export function readNumber(name: string, text: string): number {
  if (!/^[0-9]{1,10}$/.test(text) || Number(text) > 0x7fffffff) {
    throw invalidArgument(name, text, `Provided ${name} not an integer or within integer range`);
  }
  return Number(text);
}

/** The key that a continuation token stands for, undefined without one. Throws InvalidArgument. */
export function readToken(ctx: Context): string | undefined {
  const token = ctx.parameter("continuation-token") || undefined;
  if (token === undefined) return undefined;
  const key = Buffer.from(token, "base64url").toString();
  if (writeToken(key) !== token) {
    throw invalidArgument("continuation-token", token, "The continuation token provided is incorrect");
  }
  return key;
}

export function writeToken(key: string): string {
  return Buffer.from(key).toString("base64url");
}

/** How keys and what is made of them are written, by `encoding-type`. Throws InvalidArgument. */
export function readEncoding(ctx: Context): { encodingType: string | undefined; encode: (key: string) => string } {
  const encodingType = ctx.parameter("encoding-type");
  if (encodingType === undefined) return { encodingType, encode: (key) => key };
  if (encodingType !== "url") {
    throw invalidArgument("encoding-type", encodingType, "Invalid Encoding Method specified in Request");
  }
  return { encodingType, encode: encodeKey };
}

/** Throws InvalidArgument. */
export function readPartNumber(text: string): number {
  if (/^[0-9]{1,5}$/.test(text) && Number(text) >= 1 && Number(text) <= 10_000) return Number(text);
  throw invalidArgument("partNumber", text, "Part number must be an integer between 1 and 10000, inclusive");
}

/** What a page lists beside its common prefixes. */
export function entriesOf<T>(page: ListPage<T>): T[] {
  return page.entries.filter((entry): entry is Exclude<typeof entry, CommonPrefix> => !isCommonPrefix(entry));
}

export function commonPrefixes(page: ListPage<unknown>, encode: (key: string) => string): Node[] {
  const found = page.entries.filter((entry): entry is CommonPrefix => isCommonPrefix(entry));
  return found.map(({ commonPrefix }) => ["CommonPrefixes", [["Prefix", encode(commonPrefix)]]]);
}

interface CommonPrefix {
  commonPrefix: string;
}

function isCommonPrefix(entry: unknown): entry is CommonPrefix {
  return typeof entry === "object" && entry !== null && "commonPrefix" in entry;
}
