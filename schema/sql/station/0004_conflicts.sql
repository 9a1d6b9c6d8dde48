-- More kinds of conflict; what is known of a backup's state.
SELECT 1;
