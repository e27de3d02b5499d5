-- Every third user prepaid, with credit for all days; a recorded cost on every row.
DELETE FROM usage_daily WHERE user_id IS NULL OR date IS NULL OR NOT isfinite(date) OR total_cost < 0
  OR total_cost = 'NaN' OR cpu_hours NOT BETWEEN 0 AND 1e8 OR gpu_hours NOT BETWEEN 0 AND 1e8
  OR storage_gb < 0 OR model_inference_calls < 0;
UPDATE usage_daily SET total_cost = cpu_hours * 0.1 + gpu_hours * 0.5 + 0.0123;
DELETE FROM credit_transactions;
DELETE FROM user_credits;
INSERT INTO user_credits (user_id, total_purchased, free_credits_granted)
SELECT id, 100000, 10 FROM users WHERE billing_mode = 'prepaid'
