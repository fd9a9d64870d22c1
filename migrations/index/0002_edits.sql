-- Clock id of the last change of a version's tags; NULL: they are those that it was written with. Of two changes, here
-- and at the other end of a link, the greater one stands.
ALTER TABLE versions ADD COLUMN tags_change TEXT;

-- JSON array: the requests of the last changes made here, the latest first, by which a repeated one is recognised.
ALTER TABLE versions ADD COLUMN tags_requests TEXT;
