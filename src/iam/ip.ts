/**
 * IP addresses and CIDR ranges, for `source_ip.inIpRange('192.0.2.0/24')` in a policy. Pure.
 *
 * Refuses what is not written the usual way: octets with leading zeros (some read them as octal), more than one `::`,
 * scope ids. Surprise: a dual-stack socket shows an IPv4 client as `::ffff:192.0.2.1`, so such an address counts as
 * the IPv4 address inside it.
 */
export interface Address {
  /** 32 for IPv4, 128 for IPv6 */
  bits: 32 | 128;
  value: bigint;
}

const MAPPED_IPV4 = 0xffffn << 32n;

/** Whether the address is within the range. A range without a prefix length is the one address. Throws on malformed text. */
export function isInIpRange(address: string, cidr: string): boolean {
  const { bits, value } = parseAddress(address);
  const range = parseRange(cidr);
  if (bits !== range.bits) return false;
  const hostBits = BigInt(range.bits - range.prefix);
  return value >> hostBits === range.value >> hostBits;
}

/** A CIDR range; bits behind the prefix may be set and mean nothing. Throws on malformed text. */
export function parseRange(cidr: string): Address & { prefix: number } {
  const [text = "", length, ...rest] = cidr.split("/");
  const address = parseAddress(text);
  if (length === undefined) return { ...address, prefix: address.bits };
  const prefix = Number(length);
  if (rest.length || !/^\d{1,3}$/.test(length) || prefix > address.bits) throw malformed("range", cidr);
  return { ...address, prefix };
}

export function parseAddress(text: string): Address {
  if (!text.includes(":")) return { bits: 32, value: parseIpv4(text) };
  const value = parseIpv6(text);
  return value >> 32n === MAPPED_IPV4 >> 32n ? { bits: 32, value: value & 0xffffffffn } : { bits: 128, value };
}

function parseIpv4(text: string): bigint {
  const octets = text.split(".");
  const isOctet = (octet: string) => /^(0|[1-9]\d{0,2})$/.test(octet) && Number(octet) < 256;
  if (octets.length !== 4 || !octets.every(isOctet)) throw malformed("address", text);
  return octets.reduce((value, octet) => (value << 8n) | BigInt(octet), 0n);
}

function parseIpv6(text: string): bigint {
  const halves = text.split("::");
  if (halves.length > 2) throw malformed("address", text);
  const [front, back] = [groups(halves[0]!, text), groups(halves[1] ?? "", text)];
  const missing = 8 - front.length - back.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) throw malformed("address", text);
  const all = [...front, ...new Array<bigint>(missing).fill(0n), ...back];
  return all.reduce((value, group) => (value << 16n) | group, 0n);
}

/** The 16-bit groups of one side of `::`; a dotted quad at the end stands for two. */
function groups(side: string, whole: string): bigint[] {
  if (side === "") return [];
  const parts = side.split(":");
  const last = parts.at(-1)!;
  const quad = last.includes(".") ? parseIpv4(parts.pop()!) : undefined;
  if (!parts.every((part) => /^[0-9a-f]{1,4}$/i.test(part))) throw malformed("address", whole);
  const values = parts.map((part) => BigInt(`0x${part}`));
  return quad === undefined ? values : [...values, quad >> 16n, quad & 0xffffn];
}

function malformed(what: string, text: string): Error {
  return new Error(`malformed IP ${what}: ${text}`);
}
