import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isInIpRange, parseAddress } from "../../src/iam/ip.ts";

describe("inIpRange", () => {
  test.each([
    ["192.0.2.1", "192.0.2.0/24", true],
    ["192.0.3.1", "192.0.2.0/24", false],
    ["192.0.2.1", "192.0.2.1", true],
    ["192.0.2.1", "0.0.0.0/0", true],
    ["192.0.2.9", "192.0.2.8/31", true],
    ["192.0.2.10", "192.0.2.8/31", false],
    ["192.0.2.200", "192.0.2.77/24", true],
    ["2001:db8::1", "2001:db8::/32", true],
    ["2001:db9::1", "2001:db8::/32", false],
    ["2001:DB8:0:0:0:0:0:1", "2001:db8::1/128", true],
    ["::1", "::1", true],
    ["::ffff:192.0.2.1", "192.0.2.0/24", true],
    ["192.0.2.1", "::ffff:192.0.2.0", false],
    ["::1", "0.0.0.0/0", false],
    ["192.0.2.1", "::/0", false],
  ])("%s in %s: %s", (address, range, expected) => {
    expect(isInIpRange(address, range)).toBe(expected);
  });

  test.each([
    ["", "192.0.2.0/24"],
    ["192.0.2", "192.0.2.0/24"],
    ["192.0.2.256", "192.0.2.0/24"],
    ["192.0.2.01", "192.0.2.0/24"],
    ["192.0.2.1", "192.0.2.0/33"],
    ["192.0.2.1", "192.0.2.0/"],
    ["192.0.2.1", "192.0.2.0/24/1"],
    ["192.0.2.1", "192.0.2.0/-1"],
    ["1::2::3", "::/0"],
    ["1:2:3:4:5:6:7", "::/0"],
    ["1:2:3:4:5:6:7:8:9", "::/0"],
    ["1:2:3:4:5:6:7::8", "::/0"],
    ["fe80::1%eth0", "::/0"],
    ["12345::", "::/0"],
  ])("refuses '%s' in '%s'", (address, range) => {
    expect(() => isInIpRange(address, range)).toThrow("malformed IP");
  });

  test("an address is in each range that is made from its own leading bits, and in no range whose bits differ", () => {
    const octets = fc.array(fc.nat(255), { minLength: 4, maxLength: 4 });
    const groups = fc.array(fc.nat(0xffff), { minLength: 8, maxLength: 8 });
    const addresses = fc.oneof(
      octets.map((all) => all.join(".")),
      groups.map((all) => all.map((group) => group.toString(16)).join(":")),
    );
    fc.assert(
      fc.property(addresses, fc.nat(128), (address, length) => {
        const { bits, value } = parseAddress(address);
        const prefix = length % (bits + 1);
        expect(isInIpRange(address, `${address}/${prefix}`)).toBe(true);
        if (prefix === 0) return;
        const other = written(bits, value ^ (1n << BigInt(bits - prefix)));
        if (parseAddress(other).bits === bits) expect(isInIpRange(address, `${other}/${prefix}`)).toBe(false);
      }),
    );
  });
});

function written(bits: 32 | 128, value: bigint): string {
  const [count, width, base, separator] = bits === 32 ? [4, 8, 10, "."] : [8, 16, 16, ":"];
  const parts = Array.from({ length: count }, (_, index) => {
    const shift = BigInt((count - 1 - index) * width);
    return ((value >> shift) & ((1n << BigInt(width)) - 1n)).toString(base);
  });
  return parts.join(separator);
}
