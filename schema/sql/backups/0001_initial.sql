-- Pieces of images; equal ones are stored once.
CREATE TABLE chunk (
    id        INTEGER PRIMARY KEY, -- names it in image_chunk
    sha256    BLOB NOT NULL UNIQUE CHECK (length(sha256) = 32), -- of the raw bytes
    raw_bytes INTEGER NOT NULL CHECK (raw_bytes BETWEEN 1 AND 1048576), -- size when unpacked
    zstd      BLOB NOT NULL                -- one zstd frame
) STRICT;

-- Whole images. A row here means that all of its chunks are there and that its hash was checked.
CREATE TABLE image (
    id         INTEGER PRIMARY KEY, -- names it in image_chunk
    sha256     BLOB NOT NULL UNIQUE CHECK (length(sha256) = 32), -- of all bytes
    size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0), -- of all bytes
    created_ms INTEGER NOT NULL            -- when it was first stored
) STRICT;

CREATE TABLE image_chunk (
    image_id INTEGER NOT NULL REFERENCES image (id), -- of which image
    seq      INTEGER NOT NULL,             -- place in the image, from 0
    chunk_id INTEGER NOT NULL REFERENCES chunk (id), -- what lies there
    PRIMARY KEY (image_id, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX image_chunk_use ON image_chunk (chunk_id);
