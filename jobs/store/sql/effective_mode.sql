CASE WHEN billing_mode::text = 'prepaid'
  AND coalesce(feature_flags -> {flag}, 'null') IN ('null', 'false')
  AND NOT (jsonb_typeof(feature_flags) = 'array' AND feature_flags ? {flag}) IS TRUE
  THEN 'postpaid' ELSE billing_mode::text END
