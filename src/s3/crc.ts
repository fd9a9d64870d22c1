/**
 * CRC-32, CRC-32C and CRC-64/NVME: running values, and the value of a concatenation from those of its pieces.
 *
 * CRC-32 is native (`node:zlib`). The other two eat eight bytes a step by tables ("slicing by 8"); the 64-bit one in
 * two halves, since BigInt would be some hundred times slower. The combination works on BigInt: a few per part.
 * Check values over "123456789": cbf43926, e3069283, ae8b14860a799888.
 */
import { crc32 } from "node:zlib";

export type CrcAlgorithm = "CRC32" | "CRC32C" | "CRC64NVME";

export interface Crc {
  update(bytes: Uint8Array): void;
  /** big-endian, 4 or 8 bytes, as S3 writes it in base64 */
  digest(): Buffer;
}

/** Reflected polynomials: the lowest bit is the highest power. */
const POLYNOMIALS: Record<CrcAlgorithm, { width: bigint; polynomial: bigint }> = {
  CRC32: { width: 32n, polynomial: 0xedb88320n },
  CRC32C: { width: 32n, polynomial: 0x82f63b78n },
  CRC64NVME: { width: 64n, polynomial: 0x9a6c9329ac4bc9b5n },
};

export function createCrc(algorithm: CrcAlgorithm): Crc {
  if (algorithm === "CRC32") return new Crc32();
  return algorithm === "CRC32C" ? new Crc32c() : new Crc64Nvme();
}

class Crc32 implements Crc {
  #value = 0;

  update(bytes: Uint8Array): void {
    this.#value = crc32(bytes, this.#value);
  }

  digest(): Buffer {
    return bigEndian(this.#value);
  }
}

/**
 * Words a call. In one loop over a whole read of 64 KiB, workerd's V8 went back to its interpreter at the loop's end
 * each time, and ran at 20 MiB/s for some hundred MiB; a function that returns often is compiled for good (measured).
 */
const BLOCK = 1024;

/** The two that are JavaScript: eight bytes a step, read as two words of four; every platform of ours is little-endian. */
abstract class TableCrc implements Crc {
  protected low = -1;
  protected high = -1;

  update(bytes: Uint8Array): void {
    // A view of words must start at a multiple of four; pieces of a chunked body start anywhere.
    const start = Math.min(-bytes.byteOffset & 3, bytes.length);
    const words = ((bytes.length - start) >>> 3) << 1;
    this.takeBytes(bytes.subarray(0, start));
    const view = new Int32Array(bytes.buffer, words ? bytes.byteOffset + start : 0, words);
    for (let at = 0; at < words; at += BLOCK) this.takeWords(view, at, Math.min(at + BLOCK, words));
    this.takeBytes(bytes.subarray(start + words * 4));
  }

  protected abstract takeBytes(bytes: Uint8Array): void;
  protected abstract takeWords(words: Int32Array, from: number, to: number): void;
  abstract digest(): Buffer;
}

class Crc32c extends TableCrc {
  protected takeBytes(bytes: Uint8Array): void {
    const { low: table } = tables("CRC32C");
    for (const byte of bytes) this.low = (this.low >>> 8) ^ table[(this.low ^ byte) & 255]!;
  }

  protected takeWords(words: Int32Array, from: number, to: number): void {
    const { low: table } = tables("CRC32C");
    let crc = this.low;
    for (let at = from; at < to; at += 2) {
      const one = crc ^ words[at]!;
      const two = words[at + 1]!;
      crc =
        table[1792 + (one & 255)]! ^
        table[1536 + ((one >>> 8) & 255)]! ^
        table[1280 + ((one >>> 16) & 255)]! ^
        table[1024 + (one >>> 24)]! ^
        table[768 + (two & 255)]! ^
        table[512 + ((two >>> 8) & 255)]! ^
        table[256 + ((two >>> 16) & 255)]! ^
        table[two >>> 24]!;
    }
    this.low = crc;
  }

  digest(): Buffer {
    return bigEndian(~this.low);
  }
}

class Crc64Nvme extends TableCrc {
  protected takeBytes(bytes: Uint8Array): void {
    const tables64 = tables("CRC64NVME");
    for (const byte of bytes) {
      const index = (this.low ^ byte) & 255;
      this.low = ((this.low >>> 8) | (this.high << 24)) ^ tables64.low[index]!;
      this.high = (this.high >>> 8) ^ tables64.high[index]!;
    }
  }

  protected takeWords(words: Int32Array, from: number, to: number): void {
    const { low: l, high: h } = tables("CRC64NVME");
    let { low, high } = this;
    for (let at = from; at < to; at += 2) {
      low ^= words[at]!;
      high ^= words[at + 1]!;
      const i7 = 1792 + (low & 255);
      const i6 = 1536 + ((low >>> 8) & 255);
      const i5 = 1280 + ((low >>> 16) & 255);
      const i4 = 1024 + (low >>> 24);
      const i3 = 768 + (high & 255);
      const i2 = 512 + ((high >>> 8) & 255);
      const i1 = 256 + ((high >>> 16) & 255);
      const i0 = high >>> 24;
      low = l[i7]! ^ l[i6]! ^ l[i5]! ^ l[i4]! ^ l[i3]! ^ l[i2]! ^ l[i1]! ^ l[i0]!;
      high = h[i7]! ^ h[i6]! ^ h[i5]! ^ h[i4]! ^ h[i3]! ^ h[i2]! ^ h[i1]! ^ h[i0]!;
    }
    this.low = low;
    this.high = high;
  }

  digest(): Buffer {
    return Buffer.concat([bigEndian(~this.high), bigEndian(~this.low)]);
  }
}

interface Tables {
  /** eight tables of 256 in one array: an array of arrays made it two times slower (measured) */
  low: Int32Array;
  /** of a 64-bit CRC; zeros else */
  high: Int32Array;
}

const made = new Map<CrcAlgorithm, Tables>();

/** Table k holds what a byte becomes with k zero bytes after it. Made at the first use: a Worker's start-up is limited. */
function tables(algorithm: CrcAlgorithm): Tables {
  const known = made.get(algorithm);
  if (known) return known;
  const result: Tables = { low: new Int32Array(2048), high: new Int32Array(2048) };
  for (let byte = 0; byte < 256; byte++) fillColumn(result, byte, POLYNOMIALS[algorithm].polynomial);
  made.set(algorithm, result);
  return result;
}

function fillColumn({ low, high }: Tables, byte: number, polynomial: bigint): void {
  let value = BigInt(byte);
  for (let table = 0; table < 8; table++) {
    for (let bit = 0; bit < 8; bit++) value = timesX(value, polynomial);
    low[table * 256 + byte] = Number(BigInt.asIntN(32, value));
    high[table * 256 + byte] = Number(BigInt.asIntN(32, value >> 32n));
  }
}

function bigEndian(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value | 0);
  return bytes;
}

/**
 * The CRC of a concatenation from the CRCs (big-endian bytes) and sizes of its pieces: the first's value times
 * x^(8 * size of the second), plus the second's. Parts of an upload mostly have one size, so its power is kept.
 */
export function combineCrcs(algorithm: CrcAlgorithm, pieces: { digest: Uint8Array; size: number }[]): Buffer {
  const { width, polynomial } = POLYNOMIALS[algorithm];
  const powers = new Map<number, bigint>();
  let combined = 0n;
  for (const { digest, size } of pieces) {
    const power = powers.get(size) ?? powerOfX8(size, width, polynomial);
    powers.set(size, power);
    combined = multiply(power, combined, width, polynomial) ^ BigInt(`0x${Buffer.from(digest).toString("hex")}`);
  }
  return Buffer.from(combined.toString(16).padStart(Number(width) / 4, "0"), "hex");
}

/** x^(8 * bytes), by squaring. The highest bit stands for x^0. */
function powerOfX8(bytes: number, width: bigint, polynomial: bigint): bigint {
  let power = 1n << (width - 1n);
  let square = 1n << (width - 9n);
  for (let rest = BigInt(bytes); rest > 0n; rest >>= 1n) {
    if (rest & 1n) power = multiply(power, square, width, polynomial);
    square = multiply(square, square, width, polynomial);
  }
  return power;
}

function multiply(a: bigint, b: bigint, width: bigint, polynomial: bigint): bigint {
  let product = 0n;
  for (let bit = 1n << (width - 1n), shifted = b; bit > 0n; bit >>= 1n) {
    if (a & bit) product ^= shifted;
    shifted = timesX(shifted, polynomial);
  }
  return product;
}

function timesX(value: bigint, polynomial: bigint): bigint {
  return value & 1n ? (value >> 1n) ^ polynomial : value >> 1n;
}
