-- Whether the ledger is empty although draws were rolled up: made anew, everybody would be drawn again.
SELECT NOT EXISTS (SELECT FROM {credit_draws}) AND EXISTS (SELECT FROM {user_monthly} WHERE credits_deducted <> 0)
