-- What the peers need not handle goes: the awkward cast, rejects, overrides. Every prepaid user gets an account; most
-- of them hold enough for all of the usage, every seventh has nothing but the free credit and runs out.
DELETE FROM usage_daily WHERE user_id IS NULL OR user_id !~ '^auth0[|]demo-[0-9]+$';
DELETE FROM users WHERE id !~ '^auth0[|]demo-[0-9]+$';
DELETE FROM user_pricing_overrides;
DELETE FROM credit_transactions;
DELETE FROM user_credits;
INSERT INTO user_credits (user_id, total_purchased, free_credits_granted)
SELECT id, substring(id FROM '[0-9]+$')::integer % 7 * 1000 * %(months)s::integer, 10
FROM users WHERE billing_mode = 'prepaid'
