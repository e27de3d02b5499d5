-- How many rows another program has drawn on, their days, and how much it took.
SELECT count(*) AS rows, min(date) AS first, max(date) AS last, sum(credits_deducted) AS total FROM ({deducted}) AS u
