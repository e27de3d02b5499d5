-- What tables that only ever grow say to everything else.
CREATE OR REPLACE FUNCTION {schema}.refuse_change() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS $refuse$
BEGIN
  RAISE EXCEPTION '%.% is append-only: % is refused; a correction is a new row',
    TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END
$refuse$
