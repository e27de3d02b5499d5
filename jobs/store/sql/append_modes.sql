-- New entries only: the table refuses everything else. The end of a run enters what its batches have not.
INSERT INTO {modes} (user_id, valid_from, mode, run_id)
SELECT user_id, valid_from, mode, %(run_id)s
FROM unnest(%(users)s::text[], %(days)s::date[], %(modes)s::text[]) AS e(user_id, valid_from, mode)
ON CONFLICT (user_id, valid_from) DO NOTHING
