-- Chunks may be sealed: "Sealed backups" in server/store/README.md.
CREATE TABLE seal_key (
    id          INTEGER PRIMARY KEY,       -- names it in chunk
    check_value BLOB NOT NULL UNIQUE CHECK (length(check_value) = 32), -- derived from the key: says which one it is, no more
    created_ms  INTEGER NOT NULL           -- when it was first given
) STRICT;

ALTER TABLE chunk RENAME COLUMN sha256 TO content_id; -- SHA-256 of the raw bytes; sealed: HMAC-SHA256 of that, by the key
ALTER TABLE chunk RENAME COLUMN zstd TO packed; -- one zstd frame; sealed: nonce (12 bytes), ciphertext of it, tag (16 bytes)
ALTER TABLE chunk ADD COLUMN key_id INTEGER REFERENCES seal_key (id); -- what it is sealed with; null: plain
CREATE INDEX chunk_key ON chunk (key_id);
