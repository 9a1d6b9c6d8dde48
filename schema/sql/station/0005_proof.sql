-- Versions of recipes, and the signed manifests of closed jobs.

-- A recipe as it was when a job first used this version of it. The same version with other contents is refused.
CREATE TABLE recipe_version (
    name          TEXT NOT NULL,           -- of the recipe
    version       INTEGER NOT NULL CHECK (version >= 1), -- as the recipe says
    sha256        TEXT NOT NULL CHECK (length(sha256) = 64), -- of `document`
    document      TEXT NOT NULL,           -- JSON: the whole recipe, keys sorted, no blanks
    first_used_ms INTEGER NOT NULL,        -- when the first job was ordered with it
    PRIMARY KEY (name, version)
) STRICT, WITHOUT ROWID;

ALTER TABLE job ADD COLUMN recipe_version INTEGER; -- with `recipe` a row of recipe_version; null: ordered before there was that table
ALTER TABLE job ADD COLUMN recipe_sha256 TEXT; -- of that recipe's document

-- What this station says about a job that has succeeded, failed or was cancelled; written in the transaction that
-- closes the job. Each names the one before by its hash, so that none can be taken out or changed unnoticed.
CREATE TABLE manifest (
    seq             INTEGER PRIMARY KEY CHECK (seq >= 1), -- 1, 2, 3 ... without gaps
    job_id          INTEGER NOT NULL UNIQUE REFERENCES job (id), -- about which job
    document        TEXT NOT NULL,         -- JSON, keys sorted, no blanks: the bytes that are hashed and signed
    sha256          TEXT NOT NULL UNIQUE CHECK (length(sha256) = 64), -- of `document`
    signature       TEXT NOT NULL CHECK (length(signature) = 128), -- Ed25519 of `document`, hex
    public_key      TEXT NOT NULL CHECK (length(public_key) = 64), -- that the signature is checked with, hex
    at_ms           INTEGER NOT NULL       -- when the job was closed
) STRICT;
CREATE TRIGGER manifest_stays BEFORE UPDATE ON manifest BEGIN SELECT raise(ABORT, 'manifests stay'); END;
CREATE TRIGGER manifest_keeps BEFORE DELETE ON manifest BEGIN SELECT raise(ABORT, 'manifests stay'); END;
