-- Runs of a job and the extents they wrote, so that a job can be taken up again.

ALTER TABLE job ADD COLUMN chip_id TEXT;     -- the only phone it may go on with; null: none was permitted to be written yet
ALTER TABLE job ADD COLUMN phone_state TEXT; -- what the phone was left as when the last run ended; null: no run ended yet
ALTER TABLE job ADD COLUMN run_count INTEGER NOT NULL DEFAULT 0; -- how often a worker was given it

ALTER TABLE step ADD COLUMN run INTEGER NOT NULL DEFAULT 1; -- of the job that made this attempt

-- One worker's way through the recipe. The last one of a job that has not ended may be open.
CREATE TABLE run (
    job_id     INTEGER NOT NULL REFERENCES job (id), -- of which job
    seq        INTEGER NOT NULL,           -- within the job, from 1
    port_id    TEXT NOT NULL,              -- where; no foreign key: ports come and go
    started_ms INTEGER NOT NULL,           -- committed before the worker had the job
    ended_ms   INTEGER,                    -- null while it goes on, or when nobody knows yet
    outcome    TEXT CHECK (outcome IN ('succeeded', 'failed', 'cancelled', 'interrupted')), -- of this run
    error      TEXT,                       -- JSON: code, message, advice
    PRIMARY KEY (job_id, seq),
    CHECK ((ended_ms IS NULL) = (outcome IS NULL))
) STRICT, WITHOUT ROWID;

-- What a worker journaled about bytes to the phone, in its order: one line before, one after, one for each reading back.
CREATE TABLE write_extent (
    job_id       INTEGER NOT NULL,         -- of which job
    run          INTEGER NOT NULL,         -- of which of its runs
    seq          INTEGER NOT NULL,         -- order within the run, from 1
    step         TEXT NOT NULL,            -- that did it
    kind         TEXT NOT NULL             -- what the bytes are; start: none, the phone was let start
                 CHECK (kind IN ('identity', 'service_lk', 'nvram', 'commercial', 'extra', 'start')),
    partition    TEXT NOT NULL,            -- where they go; empty for a start
    phase        TEXT NOT NULL             -- intent: may be torn; sent: the phone has them; the others: read back
                 CHECK (phase IN ('intent', 'sent', 'verified', 'differs')),
    offset_bytes INTEGER NOT NULL CHECK (offset_bytes >= 0), -- of the partition in the user area
    length_bytes INTEGER NOT NULL CHECK (length_bytes >= 0), -- of the stream
    sha256       TEXT,                     -- of the stream; null: not known at that moment
    at_ms        INTEGER NOT NULL,         -- when the worker wrote it down
    PRIMARY KEY (job_id, run, seq),
    FOREIGN KEY (job_id, run) REFERENCES run (job_id, seq)
) STRICT, WITHOUT ROWID;
