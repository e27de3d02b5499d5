-- Whether free credits have been drawn.
SELECT EXISTS (SELECT FROM {credit_draws} WHERE free <> 0)
