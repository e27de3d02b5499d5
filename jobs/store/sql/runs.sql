-- The run log, newest first.
SELECT run_id, kind, window_from, window_to, reason, status, started_at AT TIME ZONE 'UTC' AS started_at,
  finished_at AT TIME ZONE 'UTC' AS finished_at, rows_read, rows_rejected, rows_changed, total_cost, credits,
  rates_hash, version, error, who, inputs ->> 'settings_file' AS settings_file, inputs ->> 'rates_file' AS rates_file
FROM {runs} ORDER BY run_id DESC LIMIT %s
