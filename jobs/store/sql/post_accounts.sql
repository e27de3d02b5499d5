-- Increments, so that nothing that others have posted meanwhile is overwritten; a balance never falls below 0 by us.
UPDATE {accounts} AS a SET {increments}
FROM (SELECT user_id, trim_scale(sum(free)) AS free, trim_scale(sum(purchased)) AS purchased
      FROM usage_jobs_draws GROUP BY user_id) AS d
WHERE a.user_id = d.user_id AND {changes} AND (d.free + d.purchased <= 0 OR {balance} - d.free - d.purchased >= 0)
