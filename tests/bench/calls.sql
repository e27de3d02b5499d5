-- What such a system usually has: once per user and day, lock, subtract, insert, update.
CREATE FUNCTION deduct(row_id uuid) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
  u usage_daily;
  a user_credits;
  free numeric;
  amount numeric;
  balance numeric;
BEGIN
  SELECT * INTO u FROM usage_daily WHERE id = row_id FOR UPDATE;
  SELECT * INTO a FROM user_credits WHERE user_id = u.user_id FOR UPDATE;
  balance := a.total_purchased + a.free_credits_granted - a.total_used - a.free_credits_used;
  amount := least(round(u.total_cost, 2), balance);
  free := least(amount, a.free_credits_granted - a.free_credits_used);
  INSERT INTO peer.credit_draws (usage_daily_id, user_id, revision, usage_date, free, purchased)
  VALUES (u.id, u.user_id, 1, u.date, free, amount - free);
  INSERT INTO credit_transactions (user_id, type, amount, balance_before, balance_after, description, metadata)
  VALUES (u.user_id, 'usage', -amount, balance, balance - amount, 'Usage of ' || u.date,
    jsonb_build_object('usage_date', u.date, 'free', free, 'purchased', amount - free));
  UPDATE user_credits SET total_used = total_used + amount - free, free_credits_used = free_credits_used + free
  WHERE id = a.id;
  UPDATE usage_daily SET credits_deducted = amount WHERE id = u.id;
  RETURN amount;
END
$$
