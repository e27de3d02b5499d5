-- Rows whose draws were reversed and that no chunk of a present user will write: rejected, without a day of this run, or
-- come back to the user. Each shows what its present user has drawn on it.
UPDATE {usage} AS u SET credits_deducted = trim_scale(m.drawn) FROM ({mendable}) AS m
WHERE u.id = m.id AND m.deducted <> m.drawn
