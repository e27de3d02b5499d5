-- Whether there is such a role, and what its comment says.
SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = %s
