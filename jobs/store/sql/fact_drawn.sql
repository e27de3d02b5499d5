-- Whether credits have been drawn.
SELECT EXISTS (SELECT FROM {credit_draws})
