-- Versions of recipes, and the signed manifests of closed jobs.
SELECT 1;
