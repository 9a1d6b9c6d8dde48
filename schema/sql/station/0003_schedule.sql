-- What the scheduler has to know after a restart.
ALTER TABLE port ADD COLUMN takes_work INTEGER NOT NULL DEFAULT 0
    CHECK (takes_work IN (0, 1)); -- 1: also runs jobs that name no port, on whatever phone shows up
ALTER TABLE job ADD COLUMN any_port INTEGER NOT NULL DEFAULT 0
    CHECK (any_port IN (0, 1)); -- 1: the order named no port: its phone must be recognised before it is written
ALTER TABLE job ADD COLUMN retries INTEGER NOT NULL DEFAULT 0; -- runs that failed in a passing way and were tried again
ALTER TABLE job ADD COLUMN retry_ms INTEGER; -- state waiting: not to be tried again before; null: at once
