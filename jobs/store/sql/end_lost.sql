-- Ends what the server still does for a connection of ours that is lost; a pooler's idle servers keep names as well.
SELECT pg_terminate_backend(pid, 5000)
FROM pg_stat_activity
WHERE application_name = %s AND state <> 'idle' AND usename = current_user AND datname = current_database()
  AND pid <> pg_backend_pid()
