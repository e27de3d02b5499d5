-- The usage of the crowd: a row for each of its users and each day, ordered by day, as collectors write them.
-- Values are computed by arithmetic on the user's number and the day, so that they are always the same: dice[n] is a
-- pseudo-random number below 1,000,003. Storage goes from 3 GB to 59 TB by user, and is almost constant over time.
INSERT INTO usage_daily (id, user_id, date, cpu_hours, gpu_hours, storage_gb, feature_store_api_calls,
  model_inference_calls, created_at, hopsworks_cluster_id, total_cost)
SELECT (to_char(day, 'YYYYMMDD') || '-0000-4000-8000-' || lpad(number::text, 12, '0'))::uuid,
  'auth0|demo-' || lpad(number::text, greatest(5, length(number::text)), '0'), day, cpu * 0.01, gpu * 0.01,
  (300 * power(3::numeric, number % 10)::bigint + dice[3] % 900) * 0.01, dice[4] % 50000, dice[5] % 3000,
  (day + time '23:30') AT TIME ZONE 'UTC', ({clusters})[number % 3 + 1],
  CASE (number + day_number) % 3 WHEN 0 THEN cpu * 10 + gpu * 50 WHEN 1 THEN 0 END * 0.0001
FROM generate_series(0, {last} - {first}) AS passed
CROSS JOIN generate_series(1, {users}) AS number
CROSS JOIN LATERAL (SELECT {first} + passed AS day, {first} + passed - date '1970-01-01' AS day_number) AS days
CROSS JOIN LATERAL (
  SELECT array_agg((seed * seed + seed * 12345) % 1000003 ORDER BY which) AS dice
  FROM generate_series(1, 5) AS which
  CROSS JOIN LATERAL (SELECT (number * 7919::bigint + day_number * 104729::bigint + which * 1299709) % 1000003 AS seed) AS seeds
) AS thrown
CROSS JOIN LATERAL (
  SELECT dice[1] % 2400 AS cpu, CASE WHEN number % 4 = 0 THEN dice[2] % 800 ELSE 0 END AS gpu
) AS hundredths
ORDER BY day, number
