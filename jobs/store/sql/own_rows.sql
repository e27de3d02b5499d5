user_id = (SELECT nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')
