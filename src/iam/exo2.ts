/**
 * EXO2-HMAC-SHA256, the signature of the control API, verified as egoscale makes it. Pure but for the key look-up that
 * is handed in.
 *
 * What is signed: method and path as received, the body's bytes, the values of the query parameters, and `expires`.
 * The parameters' names are not, and their values stand side by side without a separator; so every parameter must be
 * named in the header, once, in alphabetical order, or the request is refused. `expires` more than an hour ahead is
 * refused too: a stolen request must not be good for ever.
 */
import { Buffer } from "node:buffer";
import { S3Error } from "../errors.ts";

export interface Exo2Request {
  method: string;
  /** path as received, not decoded */
  rawPath: string;
  /** query as received, without `?` */
  rawQuery: string;
  authorization: string | null;
  body: Uint8Array<ArrayBuffer>;
}

export interface Exo2Verified {
  accessKeyId: string;
  /** base64, as sent: the same request sent again carries the same one */
  signature: string;
}

interface Fields {
  credential: string;
  signedNames: string[];
  expires: string;
  signature: string;
}

const SCHEME = "EXO2-HMAC-SHA256 ";
const LONGEST_VALIDITY_SECONDS = 3600;

/** Throws Unauthorized. `now` is in milliseconds; `secretOf` gives a key's secret, or undefined for one that is unknown. */
export async function verifyExo2(
  request: Exo2Request,
  options: { now: number; secretOf(accessKeyId: string): Promise<string | undefined> },
): Promise<Exo2Verified> {
  const fields = parseAuthorization(request.authorization);
  checkExpires(fields.expires, options.now / 1000);
  const values = signedValues(request.rawQuery, fields.signedNames);
  const secret = await options.secretOf(fields.credential);
  // An unknown key and a wrong secret answer alike.
  if (secret === undefined || !(await isSignature(secret, fields, request, values))) throw new S3Error("Unauthorized");
  return { accessKeyId: fields.credential, signature: fields.signature };
}

function parseAuthorization(authorization: string | null): Fields {
  if (!authorization?.startsWith(SCHEME)) throw new S3Error("Unauthorized");
  const fields = new Map<string, string>();
  for (const part of authorization.slice(SCHEME.length).split(",")) {
    const [, name, value] = /^(credential|signed-query-args|expires|signature)=(.+)$/.exec(part) ?? [];
    if (name === undefined || fields.has(name)) throw malformed("the Authorization header can't be read");
    fields.set(name, value!);
  }
  const [credential, expires, signature] = ["credential", "expires", "signature"].map((name) => fields.get(name));
  if (!credential || !expires || !signature) throw malformed("the Authorization header lacks a field");
  const signedNames = fields.get("signed-query-args")?.split(";") ?? [];
  return { credential, signedNames, expires, signature };
}

function checkExpires(expires: string, now: number): void {
  if (!/^\d{1,12}$/.test(expires)) throw malformed("expires must be in seconds");
  if (Number(expires) < now) throw malformed("the signature has expired");
  if (Number(expires) > now + LONGEST_VALIDITY_SECONDS) throw malformed("expires is more than an hour ahead");
}

/** The values, in the order of the signed names. */
function signedValues(rawQuery: string, signedNames: string[]): string[] {
  const parameters = new Map<string, string>();
  for (const [name, value] of new URLSearchParams(rawQuery)) {
    if (parameters.has(name)) throw malformed(`query parameter '${name}' is given twice`);
    parameters.set(name, value);
  }
  const names = [...parameters.keys()].sort();
  const unsigned = names.find((name) => !signedNames.includes(name));
  if (unsigned !== undefined) throw malformed(`query parameter '${unsigned}' is not signed`);
  if (names.join(";") !== signedNames.join(";")) throw malformed("signed-query-args doesn't match the query");
  return signedNames.map((name) => parameters.get(name)!);
}

async function isSignature(secret: string, fields: Fields, request: Exo2Request, values: string[]): Promise<boolean> {
  const hmac = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", Buffer.from(secret), hmac, false, ["verify"]);
  const signature = Buffer.from(fields.signature, "base64");
  if (signature.toString("base64") !== fields.signature) return false;
  const message = Buffer.concat([
    Buffer.from(`${request.method} ${request.rawPath}\n`),
    request.body,
    Buffer.from(`\n${values.join("")}\n\n${fields.expires}`),
  ]);
  return crypto.subtle.verify("HMAC", key, signature, message); // compares in constant time
}

function malformed(why: string): S3Error {
  return new S3Error("Unauthorized", `Invalid signature: ${why}`);
}
