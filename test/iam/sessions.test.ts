import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { afterEach, describe, expect, test, vi } from "vitest";
import { open, seal } from "../../src/iam/seal.ts";
import { openSession, readSession } from "../../src/iam/sessions.ts";

const rootKey = () => randomBytes(32).toString("base64");
const ENV = { ROOT_KEY: rootKey() };
const SESSION = { roleId: "role", organizationId: "organization", ttlSeconds: 900 };

afterEach(() => {
  vi.useRealTimers();
});

describe("A sealed text", () => {
  test("opens for its purpose and id alone", async () => {
    await fc.assert(
      fc.asyncProperty(fc.string(), fc.string(), async (id, text) => {
        const sealed = await seal(ENV, "api secret", id, text);
        expect(await open(ENV, "api secret", id, sealed)).toBe(text);
        expect(await open(ENV, "api secret", `${id}x`, sealed)).toBeUndefined();
        expect(await open(ENV, "role session", id, sealed)).toBeUndefined();
      }),
      { numRuns: 30 },
    );
  });

  test("doesn't open when any character of it is another", async () => {
    const sealed = await seal(ENV, "api secret", "EXO1", "secret");
    for (const index of sealed.split("").keys()) {
      const other = sealed[index] === "A" ? "B" : "A";
      const tampered = sealed.slice(0, index) + other + sealed.slice(index + 1);
      // The last character of base64url carries bits that mean nothing.
      if (index < sealed.length - 1) expect(await open(ENV, "api secret", "EXO1", tampered)).toBeUndefined();
    }
    for (const text of ["", "1", "1.", ".", `${sealed}.`, sealed.slice(0, -1)]) {
      expect(await open(ENV, "api secret", "EXO1", text)).toBeUndefined();
    }
  });

  test("opens while ROOT_KEY is rotated: before, during and after the exchange", async () => {
    const [old, next] = [rootKey(), rootKey()];
    const prepared = { ROOT_KEY: old, ROOT_KEY_PREVIOUS: next };
    const exchanged = { ROOT_KEY: next, ROOT_KEY_PREVIOUS: old };
    const [first, second] = [
      await seal(prepared, "api secret", "k", "1"),
      await seal(exchanged, "api secret", "k", "2"),
    ];
    expect(await open({ ROOT_KEY: old }, "api secret", "k", first)).toBe("1");
    expect(await open(exchanged, "api secret", "k", first)).toBe("1");
    expect(await open(prepared, "api secret", "k", second)).toBe("2");
    expect(await open({ ROOT_KEY: next }, "api secret", "k", first)).toBeUndefined();
  });

  test("needs a ROOT_KEY of 32 bytes", async () => {
    await expect(seal({ ROOT_KEY: "c2hvcnQ=" }, "api secret", "k", "1")).rejects.toThrow("32 bytes");
  });
});

describe("A session", () => {
  test("carries role, organization, secret and replication claims to whoever has ROOT_KEY", async () => {
    const replication = { sourceBucketId: 7, destinationBucketId: 9 };
    const credentials = await openSession(ENV, { ...SESSION, replication });
    const session = await readSession({ ROOT_KEY: ENV.ROOT_KEY }, credentials.accessKeyId, credentials.sessionToken);
    expect(session).toMatchObject({ roleId: "role", organizationId: "organization", replication });
    expect(session.secretAccessKey).toBe(credentials.secretAccessKey);
    expect(credentials.accessKeyId).toMatch(/^SES[0-9a-f]{24}$/);
  });

  test("without claims has none", async () => {
    const { accessKeyId, sessionToken } = await openSession(ENV, SESSION);
    expect(await readSession(ENV, accessKeyId, sessionToken)).not.toHaveProperty("replication");
  });

  test("of another access key, another ROOT_KEY or with a changed token is InvalidToken", async () => {
    const [one, two] = [await openSession(ENV, SESSION), await openSession(ENV, SESSION)];
    const invalid = expect.objectContaining({ code: "InvalidToken" });
    await expect(readSession(ENV, two.accessKeyId, one.sessionToken)).rejects.toEqual(invalid);
    await expect(readSession({ ROOT_KEY: rootKey() }, one.accessKeyId, one.sessionToken)).rejects.toEqual(invalid);
    const changed = one.sessionToken.replace(/.(?=.{20}$)/, (character) => (character === "A" ? "B" : "A"));
    await expect(readSession(ENV, one.accessKeyId, changed)).rejects.toEqual(invalid);
    await expect(readSession(ENV, one.accessKeyId, "nonsense")).rejects.toEqual(invalid);
  });

  test("is ExpiredToken when its time is over", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    const { accessKeyId, sessionToken } = await openSession(ENV, SESSION);
    vi.setSystemTime(Date.now() + 899_000);
    await expect(readSession(ENV, accessKeyId, sessionToken)).resolves.toBeDefined();
    vi.setSystemTime(Date.now() + 1_000);
    await expect(readSession(ENV, accessKeyId, sessionToken)).rejects.toMatchObject({ code: "ExpiredToken" });
  });
});
