-- Clock id of the last change of a version's tags; NULL: they are those that it was written with. Of two changes, here
-- and at the other end of a link, the greater one stands.
ALTER TABLE versions ADD COLUMN tags_change TEXT;
