-- What all zones share: who there is, what they may do, and which buckets exist. Zones only read it, but for `buckets`.
-- Times are milliseconds since the epoch, ids are UUIDs, and columns named as JSON hold its text.

CREATE TABLE organizations (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  policy TEXT, -- JSON; NULL allows everything
  created_at INTEGER NOT NULL
);

CREATE TABLE roles (
  id TEXT PRIMARY KEY,
  organization_id TEXT NOT NULL REFERENCES organizations (id),
  name TEXT NOT NULL,
  description TEXT NOT NULL DEFAULT '',
  editable INTEGER NOT NULL DEFAULT 1, -- 0 freezes the policy
  labels TEXT NOT NULL DEFAULT '{}', -- JSON
  permissions TEXT NOT NULL DEFAULT '[]', -- JSON
  policy TEXT, -- JSON; NULL allows everything
  max_session_ttl INTEGER, -- seconds
  assume_role_policy TEXT, -- JSON
  is_owner INTEGER NOT NULL DEFAULT 0,
  revision INTEGER NOT NULL DEFAULT 1, -- raised by every change of the role or of its organization's policy
  created_at INTEGER NOT NULL,
  UNIQUE (organization_id, name)
);

CREATE TABLE api_keys (
  key TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  organization_id TEXT NOT NULL REFERENCES organizations (id),
  role_id TEXT NOT NULL REFERENCES roles (id),
  secret TEXT NOT NULL, -- sealed with a subkey of ROOT_KEY
  created_at INTEGER NOT NULL,
  expires_at INTEGER,
  last_used_at INTEGER,
  UNIQUE (organization_id, name)
);

CREATE INDEX api_keys_by_role ON api_keys (role_id);

-- The bucket directory. AUTOINCREMENT: a number is never given twice, so nothing filed under it is inherited.
CREATE TABLE buckets (
  bucket_id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL UNIQUE,
  organization_id TEXT NOT NULL REFERENCES organizations (id),
  zone TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('creating', 'active', 'deleting')),
  slots INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  state_changed_at INTEGER NOT NULL
);

CREATE INDEX buckets_by_organization ON buckets (organization_id, name);
CREATE INDEX buckets_unsettled ON buckets (zone, state_changed_at) WHERE state <> 'active';

-- One row for each change: who, what, when, from where. Its id is the operation's id on the control API.
CREATE TABLE audit (
  id TEXT PRIMARY KEY,
  organization_id TEXT NOT NULL,
  at INTEGER NOT NULL,
  access_key_id TEXT, -- NULL for the holder of the admin token
  operation TEXT NOT NULL,
  resource TEXT NOT NULL, -- id of what was changed
  details TEXT NOT NULL, -- JSON
  source_ip TEXT NOT NULL,
  request TEXT -- SHA-256 of the signature of the request that asked for it
);

CREATE INDEX audit_by_organization ON audit (organization_id, at);
CREATE INDEX audit_by_request ON audit (request) WHERE request IS NOT NULL;
