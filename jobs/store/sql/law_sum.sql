SELECT s.month, v.name, {users} AS users, {months} AS months, {days} AS days
FROM (
  SELECT date_trunc('month', {day})::date AS month, {sums} FROM {table}
  WHERE {day} BETWEEN %(first)s AND %(last)s + interval '1 month - 1 day' GROUP BY 1
) AS s CROSS JOIN LATERAL (VALUES {amounts}) AS v(name, amount)
