-- A zone's truth. Every table is filed under bucket_id, which the directory never gives twice: what is left behind by
-- a bucket that was deleted can't meet one that takes its name.
--
-- version_id is TEXT: JavaScript and D1 round integers past 2^53. 19 digits each, so text order is time order.
-- WITHOUT ROWID wherever the primary key is the order that is read: each secondary index would bill another row.

CREATE TABLE buckets (
  bucket_id       INTEGER PRIMARY KEY,
  name            TEXT    NOT NULL,
  organization_id TEXT    NOT NULL,
  state           TEXT    NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'deleting')),
  -- raised by every change below; a local version is inserted only at the revision that it was decided with
  revision        INTEGER NOT NULL DEFAULT 1,
  versioning      TEXT    NOT NULL DEFAULT 'Unversioned' CHECK (versioning IN ('Unversioned', 'Enabled', 'Suspended')),
  slots           INTEGER NOT NULL,
  -- JSON: role, rules with their link ids, the document as it was sent; NULL without a configuration
  replication     TEXT,
  created_at      INTEGER NOT NULL
);

CREATE TABLE versions (
  bucket_id        INTEGER NOT NULL,
  key              TEXT    NOT NULL,
  version_id       TEXT    NOT NULL,
  -- written while the bucket was unversioned or suspended: shown as `null`; at most one a key
  is_null          INTEGER NOT NULL,
  is_delete_marker INTEGER NOT NULL,
  size             INTEGER NOT NULL,
  etag             TEXT    NOT NULL,
  storage          TEXT    NOT NULL CHECK (storage IN ('none', 'inline', 'segments')),
  -- JSON objects
  headers          TEXT    NOT NULL,
  metadata         TEXT    NOT NULL,
  tags             TEXT    NOT NULL,
  checksum         TEXT,
  -- JSON array of link ids, fixed at creation
  bound            TEXT    NOT NULL,
  -- a REPLICA: bucket_id of its source, and when it arrived (milliseconds)
  source           INTEGER,
  received_at      INTEGER,
  -- 40 bits of SHA-256 over what must be equal at both ends of a link
  digest           INTEGER NOT NULL,
  -- the request that wrote it: a commit whose answer was lost is recognised by it, not repeated
  request_id       TEXT    NOT NULL,
  PRIMARY KEY (bucket_id, key, version_id DESC)
) WITHOUT ROWID;

-- Apart from `versions`: SQLite reads a whole WITHOUT ROWID row to compare its key, so bodies there made a list page
-- ten times slower.
CREATE TABLE inline_bodies (
  bucket_id  INTEGER NOT NULL,
  key        TEXT    NOT NULL,
  version_id TEXT    NOT NULL,
  -- base64: D1 hands a BLOB back as an array of numbers
  body       TEXT    NOT NULL,
  PRIMARY KEY (bucket_id, key, version_id)
) WITHOUT ROWID;

CREATE TABLE segments (
  bucket_id   INTEGER NOT NULL,
  key         TEXT    NOT NULL,
  version_id  TEXT    NOT NULL,
  -- bytes from the start of the object
  offset      INTEGER NOT NULL,
  part_number INTEGER NOT NULL,
  size        INTEGER NOT NULL,
  md5         TEXT    NOT NULL,
  -- base64 checksum of the part, on its first segment
  checksum    TEXT,
  r2_key      TEXT    NOT NULL,
  PRIMARY KEY (bucket_id, key, version_id, offset)
) WITHOUT ROWID;

-- Versions removed by id or replaced, in buckets that ever had versioning: a late message can't raise them.
CREATE TABLE removed (
  bucket_id  INTEGER NOT NULL,
  key        TEXT    NOT NULL,
  version_id TEXT    NOT NULL,
  removed_at INTEGER NOT NULL,
  why        TEXT    NOT NULL CHECK (why IN ('deleted', 'replaced')),
  PRIMARY KEY (bucket_id, key, version_id)
) WITHOUT ROWID;

-- One way from a bucket: (source bucket, rule ID, destination bucket).
CREATE TABLE links (
  link_id               INTEGER PRIMARY KEY AUTOINCREMENT,
  bucket_id             INTEGER NOT NULL,
  rule_id               TEXT    NOT NULL,
  destination_bucket_id INTEGER NOT NULL,
  destination_name      TEXT    NOT NULL,
  state                 TEXT    NOT NULL CHECK (state IN ('active', 'paused', 'removed')),
  -- a link that is down is probed, with backoff; milliseconds, NULL while it is up
  down_since            INTEGER,
  next_probe_at         INTEGER,
  probes                INTEGER NOT NULL DEFAULT 0,
  last_error            TEXT,
  UNIQUE (bucket_id, rule_id, destination_bucket_id)
);

-- What is still to travel: oldest first by its primary key.
CREATE TABLE outbox (
  link_id         INTEGER NOT NULL,
  slot            INTEGER NOT NULL,
  version_id      TEXT    NOT NULL,
  key             TEXT    NOT NULL,
  -- clock id of the version's last edit, at first its own id: a receipt removes only what was sent
  change          TEXT    NOT NULL,
  attempts        INTEGER NOT NULL DEFAULT 0,
  next_attempt_at INTEGER NOT NULL DEFAULT 0,
  last_error      TEXT,
  PRIMARY KEY (link_id, slot, version_id, key)
) WITHOUT ROWID;

-- What a person must mend, with its reason. `cause` names the state of what could be mended (role, policies,
-- destination) at the time: when it has changed, the row goes back to the outbox.
CREATE TABLE failed (
  link_id    INTEGER NOT NULL,
  slot       INTEGER NOT NULL,
  version_id TEXT    NOT NULL,
  key        TEXT    NOT NULL,
  change     TEXT    NOT NULL,
  attempts   INTEGER NOT NULL,
  reason     TEXT    NOT NULL,
  cause      TEXT    NOT NULL,
  failed_at  INTEGER NOT NULL,
  PRIMARY KEY (link_id, slot, version_id, key)
) WITHOUT ROWID;

-- What arrived, summed by minute of arrival.
CREATE TABLE link_minutes (
  link_id INTEGER NOT NULL,
  -- minutes since the epoch
  minute  INTEGER NOT NULL,
  count   INTEGER NOT NULL,
  bytes   INTEGER NOT NULL,
  -- JSON object: upper bound of lag in milliseconds (powers of two) -> count
  lag     TEXT    NOT NULL,
  PRIMARY KEY (link_id, minute)
) WITHOUT ROWID;

CREATE TABLE uploads (
  bucket_id          INTEGER NOT NULL,
  key                TEXT    NOT NULL,
  -- begins with its time, so that uploads of a key are listed in order
  upload_id          TEXT    NOT NULL,
  -- `replica` gathers the segments of a large version on its way in: not listed, no obstacle to DeleteBucket
  state              TEXT    NOT NULL CHECK (state IN ('open', 'replica', 'completed', 'aborted')),
  initiated_at       INTEGER NOT NULL,
  touched_at         INTEGER NOT NULL,
  headers            TEXT    NOT NULL,
  metadata           TEXT    NOT NULL,
  tags               TEXT    NOT NULL,
  checksum_algorithm TEXT,
  checksum_type      TEXT,
  -- of a completed upload, for the same answer to a repeated Complete
  version_id         TEXT,
  parts_digest       TEXT,
  PRIMARY KEY (bucket_id, key, upload_id)
) WITHOUT ROWID;

-- For the sweep. An open upload isn't in it, so it bills no row for one.
CREATE INDEX uploads_closed ON uploads (touched_at) WHERE state <> 'open';

CREATE TABLE parts (
  bucket_id   INTEGER NOT NULL,
  upload_id   TEXT    NOT NULL,
  part_number INTEGER NOT NULL,
  -- bytes from the start of the part: a replica's part may arrive in several segments
  part_offset INTEGER NOT NULL DEFAULT 0,
  size        INTEGER NOT NULL,
  md5         TEXT    NOT NULL,
  checksum    TEXT,
  r2_key      TEXT    NOT NULL,
  uploaded_at INTEGER NOT NULL,
  PRIMARY KEY (bucket_id, upload_id, part_number, part_offset)
) WITHOUT ROWID;

-- Bodies in R2 that nothing names any more; a reader may still be streaming one until it is due.
CREATE TABLE garbage (
  due_at    INTEGER NOT NULL,
  r2_key    TEXT    NOT NULL,
  bucket_id INTEGER NOT NULL,
  key       TEXT    NOT NULL,
  PRIMARY KEY (due_at, r2_key)
) WITHOUT ROWID;

-- Long work that the sweep does a piece at a time.
CREATE TABLE jobs (
  kind      TEXT    NOT NULL CHECK (kind IN ('forget-bucket', 'scrub')),
  -- 0 where the job is about the whole zone
  bucket_id INTEGER NOT NULL,
  cursor    TEXT,
  due_at    INTEGER NOT NULL,
  PRIMARY KEY (kind, bucket_id)
) WITHOUT ROWID;
