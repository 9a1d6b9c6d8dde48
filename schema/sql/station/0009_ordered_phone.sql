-- Which phone the order named is not which one a run has met: of a job without a port the latter is not vouched for by
-- anybody until a permit was given, also after a restart. Of jobs ordered before this nobody can tell: they recognise their
-- phone by its serial, or ask a person.
ALTER TABLE job ADD COLUMN ordered_phone_id INTEGER; -- a row of phone; null: the order named none
