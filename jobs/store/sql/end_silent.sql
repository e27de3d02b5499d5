-- Ends transactions of runs that are gone: their client has been silent for as long as a guard may be, and while they
-- last they keep rows locked and servers of a pool taken. A name ends in a token, by which runs differ.
SELECT pg_terminate_backend(pid, 5000)
FROM pg_stat_activity
WHERE left(application_name, -%(token)s) = %(name)s AND usename = current_user AND datname = current_database()
  AND state <> 'idle' AND wait_event_type = 'Client'
  AND state_change < clock_timestamp() - %(silence)s * interval '1 second'
