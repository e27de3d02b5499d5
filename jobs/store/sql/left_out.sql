-- Months of which not all can be judged: with days that are not regrouped yet, or not in user_daily yet.
SELECT month, waits, is_bare
FROM (
  SELECT m.month, m.fingerprint IS NULL AS is_bare,
    m.month IN (SELECT date_trunc('month', date)::date FROM {touched_days}) AS waits
  FROM {months} AS m WHERE m.month = ANY(%s::date[])
) AS m WHERE waits OR is_bare ORDER BY month
