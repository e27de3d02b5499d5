-- New entries only: the table refuses everything else.
INSERT INTO {modes} (user_id, valid_from, mode, run_id) SELECT user_id, valid_from, mode, {run_id} FROM ({entries}) AS e
ON CONFLICT (user_id, valid_from) DO NOTHING
