-- More kinds of conflict, and what an admin decided.
CREATE TABLE conflict_all (
    id              INTEGER PRIMARY KEY, -- the API shows it
    kind            TEXT NOT NULL CHECK (kind IN ( -- what contradicts what
                        'serial', 'imei',      -- one number on two chips
                        'two_serials',         -- one chip is known by one serial and was given another
                        'backup_twin',         -- a plausible image of one phone equals another phone's
                        'import_claim')),      -- an imported backup is bound to one chip and asked for by another
    value           TEXT NOT NULL,         -- the number; of two_serials the new one; of backup_twin the partition; of import_claim the backup
    other_value     TEXT,                  -- of two_serials: the serial known before; else null
    phone_id        INTEGER REFERENCES phone (id), -- whose job or backup showed it; null: a backup without a phone yet
    other_phone_id  INTEGER REFERENCES phone (id), -- the one known before; null: none is known
    backup_id       INTEGER REFERENCES backup (id), -- of backup_twin and import_claim; else null
    other_backup_id INTEGER REFERENCES backup (id), -- of backup_twin: the one known before; else null
    job_id          INTEGER REFERENCES job (id), -- that showed it; null: no job did
    state           TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'resolved')), -- open: phones and backups are blocked
    noticed_ms      INTEGER NOT NULL,      -- when it showed
    resolved_ms     INTEGER,               -- null while open
    resolved_by     TEXT,                  -- who
    reason          TEXT,                  -- why, in words
    kept            TEXT,                  -- the decision: a phone, a serial or a backup by the kind, or both; null while open
    CHECK (phone_id IS NULL OR other_phone_id IS NULL OR phone_id <> other_phone_id),
    CHECK ((state = 'resolved') = (resolved_ms IS NOT NULL AND reason IS NOT NULL AND kept IS NOT NULL))
) STRICT;
INSERT INTO conflict_all (id, kind, value, phone_id, other_phone_id, state, noticed_ms, resolved_ms, resolved_by, reason, kept)
    SELECT id, kind, value, high_phone_id, low_phone_id, state, noticed_ms, resolved_ms, resolved_by, reason,
           CASE state WHEN 'resolved' THEN 'both' END
    FROM conflict;
DROP TABLE conflict;
ALTER TABLE conflict_all RENAME TO conflict;
CREATE INDEX conflict_phone ON conflict (phone_id, state);
CREATE INDEX conflict_other_phone ON conflict (other_phone_id, state);
CREATE INDEX conflict_backup ON conflict (backup_id, state);
CREATE INDEX conflict_other_backup ON conflict (other_backup_id, state);
CREATE INDEX conflict_value ON conflict (kind, value, state);
CREATE INDEX conflict_job ON conflict (job_id);
CREATE INDEX conflict_state ON conflict (state, id);

-- Facts are kept for ever; one that an admin found wrong does not count any more.
ALTER TABLE phone_fact ADD COLUMN withdrawn_by INTEGER REFERENCES conflict (id); -- the decision; null: the fact counts
CREATE INDEX phone_fact_withdrawn ON phone_fact (withdrawn_by);

ALTER TABLE backup ADD COLUMN damage TEXT; -- what the last reading found wrong; null: nothing, or not read since it was stored
CREATE INDEX backup_due ON backup (coalesce(verified_ms, created_ms)); -- whose images are read again next
ALTER TABLE backup ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0 CHECK (pinned IN (0, 1)); -- retention leaves it alone
ALTER TABLE backup ADD COLUMN pruned_ms INTEGER; -- when retention deleted its images and its partitions' rows; null: they are there
CREATE INDEX backup_damaged ON backup (phone_id) WHERE damage IS NOT NULL;
