-- A job whose worker died is taken up again by the station itself, once in each step.
ALTER TABLE job ADD COLUMN crash_step TEXT; -- in which its worker died last, and the station took it up again; null: none
