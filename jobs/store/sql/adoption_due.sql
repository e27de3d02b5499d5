-- Whether this is the first run that keeps the ledger: what was drawn until now, another program has drawn.
SELECT NOT EXISTS (SELECT FROM {draws})
   AND NOT EXISTS (SELECT FROM {runs} WHERE kind = 'adopt' OR credits IS NOT NULL)
