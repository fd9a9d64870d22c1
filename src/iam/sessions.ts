/**
 * Sessions of a role: an access key id, a secret and a token that seals both with the role they stand for. Any zone
 * verifies the token without a database; what the role may do is then read as for every other caller.
 *
 * Replication claims can be had by no API: only the replication consumer opens a session with them, and only such a
 * session may set a version id, an ETag or a date.
 */
import { randomBytes } from "node:crypto";
import { S3Error } from "../errors.ts";
import { open, type SealEnv, seal } from "./seal.ts";

export interface Credentials {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken: string;
}

export interface ReplicationClaims {
  sourceBucketId: number;
  destinationBucketId: number;
}

/** What a token seals. */
export interface Session {
  roleId: string;
  organizationId: string;
  secretAccessKey: string;
  /** milliseconds since the epoch */
  expiresAt: number;
  replication?: ReplicationClaims;
  /** the key whose request it is opened for: policies see that one */
  callerKey?: string;
}

/** A session of a role, sealed with a subkey of ROOT_KEY. Whether the role may be assumed is for the caller to ask first. */
export async function openSession(
  env: SealEnv,
  session: Pick<Session, "roleId" | "organizationId" | "replication" | "callerKey"> & { ttlSeconds: number },
): Promise<Credentials> {
  const { ttlSeconds, ...claims } = session;
  const accessKeyId = `SES${randomBytes(12).toString("hex")}`;
  const secretAccessKey = randomBytes(32).toString("base64url");
  const sealed: Session = { ...claims, secretAccessKey, expiresAt: Date.now() + ttlSeconds * 1000 };
  const sessionToken = await seal(env, "role session", accessKeyId, JSON.stringify(sealed));
  return { accessKeyId, secretAccessKey, sessionToken };
}

/** What the token of this access key id seals. Throws InvalidToken, ExpiredToken. */
export async function readSession(env: SealEnv, accessKeyId: string, sessionToken: string): Promise<Session> {
  const text = await open(env, "role session", accessKeyId, sessionToken);
  if (text === undefined) throw new S3Error("InvalidToken");
  const session = JSON.parse(text) as Session;
  if (session.expiresAt <= Date.now()) throw new S3Error("ExpiredToken");
  return session;
}
