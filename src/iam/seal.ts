/**
 * Sealing: what must be secret at rest or must come back unchanged is encrypted with AES-256-GCM under a subkey of
 * ROOT_KEY, one for each purpose (HKDF-SHA-256), and bound to the id of what it belongs to.
 *
 * A sealed text names the root key by a number derived from the key itself, so that ROOT_KEY can be rotated: first
 * every Worker gets the new key as ROOT_KEY_PREVIOUS, then the two change places, and both are understood throughout.
 */
import { Buffer } from "node:buffer";

export type SealEnv = Pick<Env, "ROOT_KEY">;

/** Each has a subkey of its own, so that a text sealed for one purpose means nothing for another. */
export type Purpose = "api secret" | "role session";

interface Subkey {
  /** which root key it comes from */
  number: number;
  key: CryptoKey;
}

const IV_BYTES = 12;

/** `number.base64url`; the second part holds 12 random bytes of IV, then ciphertext and tag. */
export async function seal(env: SealEnv, purpose: Purpose, id: string, text: string): Promise<string> {
  const { number, key } = await subkey(env.ROOT_KEY, purpose);
  const iv = crypto.getRandomValues(new Uint8Array(IV_BYTES));
  const ciphertext = await crypto.subtle.encrypt(parameters(iv, id), key, Buffer.from(text));
  return `${number}.${Buffer.concat([iv, new Uint8Array(ciphertext)]).toString("base64url")}`;
}

/** The text, or undefined if this wasn't sealed for that purpose and id by a root key that we have. */
export async function open(env: SealEnv, purpose: Purpose, id: string, sealed: string): Promise<string | undefined> {
  const [, number, encoded] = /^(\d{1,10})\.([\w-]{38,})$/.exec(sealed) ?? [];
  const match = number && (await subkeys(env, purpose)).find((candidate) => candidate.number === Number(number));
  if (!match) return undefined;
  const bytes = Buffer.from(encoded!, "base64url");
  try {
    const iv = bytes.subarray(0, IV_BYTES);
    return Buffer.from(await crypto.subtle.decrypt(parameters(iv, id), match.key, bytes.subarray(IV_BYTES))).toString();
  } catch {
    return undefined; // WebCrypto has one opaque error for a wrong tag, and a wrong tag is an answer here
  }
}

function parameters(iv: Uint8Array, id: string): SubtleCryptoEncryptAlgorithm {
  return { name: "AES-GCM", iv, additionalData: Buffer.from(id) };
}

async function subkeys(env: SealEnv, purpose: Purpose): Promise<Subkey[]> {
  const { ROOT_KEY_PREVIOUS } = env as SealEnv & { ROOT_KEY_PREVIOUS?: string };
  const roots = ROOT_KEY_PREVIOUS ? [env.ROOT_KEY, ROOT_KEY_PREVIOUS] : [env.ROOT_KEY];
  return Promise.all(roots.map((root) => subkey(root, purpose)));
}

/** Subkeys of this isolate by root key and purpose: deriving one takes longer than using it. */
const derived = new Map<string, Subkey>();

async function subkey(root: string, purpose: Purpose): Promise<Subkey> {
  const id = `${root} ${purpose}`;
  const known = derived.get(id);
  if (known) return known;
  const made = await derive(root, purpose);
  derived.set(id, made);
  return made;
}

async function derive(root: string, purpose: Purpose): Promise<Subkey> {
  const bytes = Buffer.from(root, "base64");
  if (bytes.length !== 32) throw new Error("ROOT_KEY and ROOT_KEY_PREVIOUS must be 32 bytes in base64");
  const base = await crypto.subtle.importKey("raw", bytes, "HKDF", false, ["deriveKey", "deriveBits"]);
  const key = await crypto.subtle.deriveKey(hkdf(purpose), base, { name: "AES-GCM", length: 256 }, false, [
    "encrypt",
    "decrypt",
  ]);
  const number = Buffer.from(await crypto.subtle.deriveBits(hkdf("key number"), base, 32)).readUInt32BE();
  return { number, key };
}

function hkdf(info: string) {
  return { name: "HKDF", hash: "SHA-256", salt: new Uint8Array(), info: Buffer.from(`zonal ${info}`) };
}
