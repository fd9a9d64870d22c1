-- Which instance of a slot's Sequencer may insert: the one that wrote its own mark here last, in the place of the mark
-- that it had read. What an instance sent before that can't land any more.
CREATE TABLE slots (
  bucket_id INTEGER NOT NULL,
  slot      INTEGER NOT NULL,
  holder    TEXT    NOT NULL,
  PRIMARY KEY (bucket_id, slot)
) WITHOUT ROWID;

-- The request that had written what was removed: a write that is repeated when its version is gone again is recognised.
ALTER TABLE removed ADD COLUMN request_id TEXT;
