-- New entries only: the table refuses everything else.
INSERT INTO {modes} (user_id, valid_from, mode, run_id)
SELECT user_id, valid_from, mode, %(run_id)s
FROM unnest(%(users)s::text[], %(days)s::date[], %(modes)s::text[]) AS e(user_id, valid_from, mode)
