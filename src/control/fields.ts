/**
 * Fields of a JSON body, checked: each reader throws BadRequest naming the field. A field that is null counts as absent.
 *
 * A field that is not known is refused: `polcy` in place of `policy` would make a role that may do everything.
 */
import { S3Error } from "../errors.ts";

type Fields = Record<string, unknown>;

export function refuseUnknown(body: Fields, known: readonly string[]): void {
  const unknown = Object.keys(body).find((name) => !known.includes(name));
  if (unknown !== undefined) throw invalid(`unknown field '${unknown}'`);
}

/** Length in characters, both ends inclusive. */
export function optionalText(body: Fields, name: string, min: number, max: number): string | undefined {
  const value = body[name] ?? undefined;
  if (value === undefined) return undefined;
  const length = typeof value === "string" ? [...value].length : -1;
  if (length < min || length > max) throw invalid(`'${name}' must be a text of ${min} to ${max} characters`);
  return value as string;
}

export function text(body: Fields, name: string, min: number, max: number): string {
  const value = optionalText(body, name, min, max);
  if (value === undefined) throw invalid(`'${name}' is missing`);
  return value;
}

export function optionalBoolean(body: Fields, name: string): boolean | undefined {
  const value = body[name] ?? undefined;
  if (value !== undefined && typeof value !== "boolean") throw invalid(`'${name}' must be true or false`);
  return value as boolean | undefined;
}

export function optionalPositive(body: Fields, name: string): number | undefined {
  const value = body[name] ?? undefined;
  if (value !== undefined && !(Number.isSafeInteger(value) && (value as number) > 0)) {
    throw invalid(`'${name}' must be a whole number above 0`);
  }
  return value as number | undefined;
}

const LABELS_MAX = 64;

/** Texts by name, of 255 characters at most each. */
export function optionalLabels(body: Fields, name: string): Record<string, string> | undefined {
  const value = body[name] ?? undefined;
  if (value === undefined) return undefined;
  const isShort = (entry: unknown) => typeof entry === "string" && entry.length <= 255;
  const isLabels = typeof value === "object" && value !== null && !Array.isArray(value);
  if (!isLabels || Object.keys(value).length > LABELS_MAX || !Object.entries(value).flat().every(isShort)) {
    throw invalid(`'${name}' must be an object of at most ${LABELS_MAX} texts of at most 255 characters`);
  }
  return value as Record<string, string>;
}

/** A list without repetition of what `allowed` holds. */
export function optionalSet(body: Fields, name: string, allowed: readonly string[]): string[] | undefined {
  const value = body[name] ?? undefined;
  if (value === undefined) return undefined;
  const isSet = Array.isArray(value) && value.every((item) => allowed.includes(item));
  if (!isSet || new Set(value).size !== value.length) {
    throw invalid(`'${name}' must be a list without repetition of ${allowed.join(", ")}`);
  }
  return value;
}

function invalid(message: string): S3Error {
  return new S3Error("BadRequest", `Invalid request: ${message}`);
}
