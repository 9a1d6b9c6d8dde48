-- What the scheduler has to know after a restart.
SELECT 1;
