-- Ports that were ever seen or labelled. Mode and state are live and not stored.
CREATE TABLE port (
    id         TEXT PRIMARY KEY NOT NULL,  -- udev's ID_PATH or usbip-HOST:PORT-BUSID
    label      TEXT NOT NULL DEFAULT '',   -- what is written beside the socket: A1
    enabled    INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)), -- 0: takes no job
    created_ms INTEGER NOT NULL            -- when it was first heard of
) STRICT;

-- One device, known by its chip. What is learned about it lies in phone_fact.
CREATE TABLE phone (
    id            INTEGER PRIMARY KEY, -- the API shows it
    chip_id       TEXT NOT NULL UNIQUE CHECK (length(chip_id) BETWEEN 8 AND 64), -- ME_ID from the boot ROM, hex
    soc_id        TEXT,                    -- SOC_ID from the boot ROM, hex; null: not read yet
    identity      TEXT NOT NULL DEFAULT 'unknown'
                  CHECK (identity IN ('own', 'donor', 'lost', 'unknown')), -- whose identity is on its flash
    port_id       TEXT,                    -- where it was seen last; no foreign key: ports come and go
    first_seen_ms INTEGER NOT NULL,        -- first contact
    last_seen_ms  INTEGER NOT NULL         -- latest contact
) STRICT;

-- Serials, IMEIs and addresses learned about a phone; kept for ever, also when a newer one is learned.
CREATE TABLE phone_fact (
    id         INTEGER PRIMARY KEY,        -- order of learning: IMEI 1 before IMEI 2
    phone_id   INTEGER NOT NULL REFERENCES phone (id), -- about whom
    kind       TEXT NOT NULL CHECK (kind IN ('serial', 'imei', 'wlan_mac', 'bt_mac')), -- what it is
    value      TEXT NOT NULL CHECK (length(value) BETWEEN 1 AND 64), -- as printed on the label
    source     TEXT NOT NULL,              -- where it was first learned: label screen proinfo fastboot import
    learned_ms INTEGER NOT NULL,           -- first time
    seen_ms    INTEGER NOT NULL,           -- latest time; the newest serial is the phone's serial
    UNIQUE (phone_id, kind, value)
) STRICT;
CREATE INDEX phone_fact_value ON phone_fact (kind, value);

-- One serial or IMEI on two chips. Open until an admin resolves it with a written reason.
CREATE TABLE conflict (
    id            INTEGER PRIMARY KEY, -- the API shows it
    kind          TEXT NOT NULL CHECK (kind IN ('serial', 'imei')), -- of the fact
    value         TEXT NOT NULL,           -- that both claim
    low_phone_id  INTEGER NOT NULL REFERENCES phone (id), -- the phone with the smaller id
    high_phone_id INTEGER NOT NULL REFERENCES phone (id), -- the other one
    state         TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'resolved')), -- open: it blocks both phones
    noticed_ms    INTEGER NOT NULL,        -- when the second chip showed up
    resolved_ms   INTEGER,                 -- null while open
    resolved_by   TEXT,                    -- who
    reason        TEXT,                    -- why, in words
    UNIQUE (kind, value, low_phone_id, high_phone_id),
    CHECK (low_phone_id < high_phone_id),
    CHECK ((state = 'resolved') = (resolved_ms IS NOT NULL AND reason IS NOT NULL))
) STRICT;
CREATE INDEX conflict_low ON conflict (low_phone_id, state);
CREATE INDEX conflict_high ON conflict (high_phone_id, state);

-- Firmware packages: folders on disk, catalogued with hashes.
CREATE TABLE firmware (
    id           INTEGER PRIMARY KEY, -- the API shows it
    path         TEXT NOT NULL,            -- the folder, absolute
    name         TEXT,                     -- of the package
    platform     TEXT,                     -- by its scatter file: MT6771
    project      TEXT,                     -- by its scatter file
    version      TEXT,                     -- by its name and contents
    files_sha256 TEXT NOT NULL CHECK (length(files_sha256) = 64), -- over name, size and hash of each file
    problems     TEXT NOT NULL DEFAULT '[]', -- JSON list, as the package check printed it
    detail       TEXT NOT NULL DEFAULT '{}', -- JSON: layout, file kinds and upgrade list, what a plan is made of
    created_ms   INTEGER NOT NULL,         -- when it was catalogued
    UNIQUE (path, files_sha256)
) STRICT;

CREATE TABLE firmware_file (
    firmware_id INTEGER NOT NULL REFERENCES firmware (id), -- of which package
    name        TEXT NOT NULL,             -- below the folder
    size_bytes  INTEGER NOT NULL CHECK (size_bytes >= 0), -- when it was catalogued
    sha256      TEXT NOT NULL CHECK (length(sha256) = 64), -- lower-case hex
    PRIMARY KEY (firmware_id, name)
) STRICT, WITHOUT ROWID;

-- One run of a recipe for one phone.
CREATE TABLE job (
    id              INTEGER PRIMARY KEY AUTOINCREMENT, -- never given twice: it stands in logs and reports
    recipe          TEXT NOT NULL,         -- name of the recipe
    state           TEXT NOT NULL DEFAULT 'queued' -- see the API
                    CHECK (state IN ('queued', 'waiting', 'running', 'prompt', 'paused', 'succeeded',
                                     'failed', 'cancelled', 'interrupted')),
    step            TEXT,                  -- that it is in, or was in last
    priority        INTEGER NOT NULL DEFAULT 0, -- higher first
    port_id         TEXT,                  -- that it was ordered for, or runs on; no foreign key, see phone
    phone_id        INTEGER REFERENCES phone (id), -- null until the phone was recognised
    serial          TEXT,                  -- ordered, or learned
    imeis           TEXT NOT NULL DEFAULT '[]', -- JSON list, from the order
    firmware_id     INTEGER REFERENCES firmware (id), -- package to use
    backup_id       INTEGER REFERENCES backup (id), -- backup to restore from; null: the phone's own
    finish          TEXT CHECK (finish IN ('lk', 'upgrade')), -- form of the last write step
    accept          TEXT CHECK (accept IN ('usb', 'scan')), -- how the result is accepted
    owner_ref       TEXT,                  -- the owner's name for the phone or the order
    client_ref      TEXT,                  -- the ordering system's name for the job
    idempotency_key TEXT UNIQUE,           -- of the request; null: none was sent
    request_sha256  TEXT,                  -- of the request's body
    prompt          TEXT,                  -- JSON: what a person is asked now
    error           TEXT,                  -- JSON: code, message, advice of what ended or stopped it
    result          TEXT,                  -- JSON: what the recipe reports
    created_ms      INTEGER NOT NULL,      -- when it was ordered
    started_ms      INTEGER,               -- first time it ran
    ended_ms        INTEGER,               -- when it succeeded, failed or was cancelled
    CHECK ((idempotency_key IS NULL) = (request_sha256 IS NULL)),
    CHECK ((ended_ms IS NOT NULL) = (state IN ('succeeded', 'failed', 'cancelled')))
) STRICT;
CREATE INDEX job_open ON job (id) WHERE ended_ms IS NULL;
CREATE INDEX job_state ON job (state, id);
CREATE INDEX job_phone ON job (phone_id, id);
CREATE INDEX job_port ON job (port_id, id);
CREATE INDEX job_serial ON job (serial, id);
CREATE INDEX job_firmware ON job (firmware_id);
CREATE INDEX job_backup ON job (backup_id);
CREATE INDEX job_client_ref ON job (client_ref, id);
CREATE UNIQUE INDEX job_one_a_port ON job (port_id) WHERE state IN ('running', 'prompt');
CREATE UNIQUE INDEX job_one_a_phone ON job (phone_id) WHERE state IN ('running', 'prompt');

-- The journal: every attempt at every step, written before and after.
CREATE TABLE step (
    job_id     INTEGER NOT NULL REFERENCES job (id), -- of which job
    seq        INTEGER NOT NULL,           -- order of the attempts within the job, from 1
    name       TEXT NOT NULL,              -- of the step in the recipe
    attempt    INTEGER NOT NULL,           -- at this step, from 1
    state      TEXT NOT NULL DEFAULT 'running' -- what became of it
               CHECK (state IN ('running', 'done', 'failed', 'skipped', 'interrupted')),
    intent     TEXT,                       -- JSON: what was about to be done
    error      TEXT,                       -- JSON: code, message, advice
    result     TEXT,                       -- JSON: what was done and seen
    started_ms INTEGER NOT NULL,           -- committed before the phone was touched
    ended_ms   INTEGER,                    -- null while it runs, or when nobody knows
    PRIMARY KEY (job_id, seq),
    UNIQUE (job_id, name, attempt)
) STRICT, WITHOUT ROWID;

CREATE TABLE job_log (
    job_id  INTEGER NOT NULL REFERENCES job (id), -- of which job
    seq     INTEGER NOT NULL,              -- within the job, from 1; the cursor of the log
    at_ms   INTEGER NOT NULL,              -- when it was written down
    level   TEXT NOT NULL CHECK (level IN ('debug', 'info', 'warn', 'error')), -- how bad
    step    TEXT,                          -- that it belongs to
    message TEXT NOT NULL,                 -- one line
    PRIMARY KEY (job_id, seq)
) STRICT, WITHOUT ROWID;

-- What changed, in the order of the commits. The id is the cursor of SSE and webhooks.
CREATE TABLE event (
    id      INTEGER PRIMARY KEY AUTOINCREMENT, -- never given twice, also after old ones are deleted
    at_ms   INTEGER NOT NULL,              -- of the change
    type    TEXT NOT NULL CHECK (type IN ('port', 'job', 'prompt', 'log', 'phone')), -- which resource changed
    body    TEXT,                          -- JSON: the resource after the change; null for a log line
    job_id  INTEGER REFERENCES job (id),   -- of a log line
    log_seq INTEGER,                       -- of a log line, which is not stored twice
    CHECK ((type = 'log') = (body IS NULL)),
    CHECK ((type = 'log') = (job_id IS NOT NULL AND log_seq IS NOT NULL))
) STRICT;

-- Manifests. The images lie in backups.db; a row here means that all of them are committed there.
CREATE TABLE backup (
    id              INTEGER PRIMARY KEY AUTOINCREMENT, -- never given twice: permits name it
    job_id          INTEGER REFERENCES job (id), -- that took it; null: an import without a job
    key             TEXT NOT NULL,         -- what it is within its job: pre; a job that is resumed takes another
    phone_id        INTEGER REFERENCES phone (id), -- whose it is; null: an import that is not bound yet
    chip_id         TEXT,                  -- of the phone it was read from; null: from a file
    origin          TEXT NOT NULL CHECK (origin IN ('station', 'import', 'donor')), -- who took it: this station; from a read-back dump; of a donor
    serial          TEXT,                  -- inside its proinfo, or on the label of an import
    verdict         TEXT,                  -- on the whole set: usable no_elabel lost foreign placeholder
    complete        INTEGER NOT NULL CHECK (complete IN (0, 1)), -- every member of the identity set is in it
    manifest        TEXT NOT NULL,         -- JSON, byte by byte as the worker wrote it
    manifest_sha256 TEXT NOT NULL CHECK (length(manifest_sha256) = 64), -- of those bytes
    created_ms      INTEGER NOT NULL,      -- when it was committed
    verified_ms     INTEGER,               -- when its images were last read and compared; null: never since
    CHECK (origin <> 'station' OR (phone_id IS NOT NULL AND chip_id IS NOT NULL))
) STRICT;
CREATE INDEX backup_phone ON backup (phone_id, id);
CREATE INDEX backup_serial ON backup (serial, id);
CREATE INDEX backup_manifest ON backup (manifest_sha256);
CREATE INDEX backup_job ON backup (job_id, id);

CREATE TABLE backup_partition (
    backup_id    INTEGER NOT NULL REFERENCES backup (id), -- of which backup
    seq          INTEGER NOT NULL,         -- order in the manifest
    name         TEXT NOT NULL,            -- partition, or pgpt sgpt boot1 boot2
    area         TEXT NOT NULL,            -- USER BOOT1 BOOT2
    offset_bytes INTEGER NOT NULL CHECK (offset_bytes >= 0), -- within the area
    size_bytes   INTEGER NOT NULL CHECK (size_bytes >= 0), -- of the image
    sha256       TEXT NOT NULL CHECK (length(sha256) = 64), -- of the image; key of backups.db
    plausible    TEXT NOT NULL CHECK (plausible IN ('yes', 'no', 'unknown')), -- does it hold an identity
    reason       TEXT NOT NULL DEFAULT '', -- why, in words
    PRIMARY KEY (backup_id, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX backup_partition_image ON backup_partition (sha256);

-- Permissions to write that were handed to workers.
CREATE TABLE permit (
    id               INTEGER PRIMARY KEY, -- the API shows it
    job_id           INTEGER NOT NULL REFERENCES job (id), -- that may write
    backup_id        INTEGER NOT NULL REFERENCES backup (id), -- the pre-image of this phone
    source_backup_id INTEGER REFERENCES backup (id), -- what is written back; null: nothing of an identity
    manifest_sha256  TEXT NOT NULL,        -- of the pre-image's manifest
    plan_sha256      TEXT NOT NULL,        -- of the extents that may be written
    chip_id          TEXT NOT NULL,        -- the only chip it is good for
    issued_ms        INTEGER NOT NULL      -- when
) STRICT;
CREATE INDEX permit_job ON permit (job_id, id);
CREATE INDEX permit_backup ON permit (backup_id);
CREATE INDEX permit_source ON permit (source_backup_id);

-- Who did what. Rows are only ever added.
CREATE TABLE audit (
    id      INTEGER PRIMARY KEY AUTOINCREMENT, -- order of writing
    at_ms   INTEGER NOT NULL,              -- when
    actor   TEXT NOT NULL,                 -- token name, "station", or the address of a person without one
    action  TEXT NOT NULL,                 -- verb, as job.add
    subject TEXT NOT NULL,                 -- what it was done to, as job 17
    detail  TEXT                           -- JSON
) STRICT;
CREATE TRIGGER audit_stays BEFORE UPDATE ON audit BEGIN SELECT raise(ABORT, 'audit rows stay'); END;
CREATE TRIGGER audit_keeps BEFORE DELETE ON audit BEGIN SELECT raise(ABORT, 'audit rows stay'); END;
