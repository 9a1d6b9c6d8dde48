-- Runs of a job and the extents they wrote, so that a job can be taken up again.
SELECT 1;
