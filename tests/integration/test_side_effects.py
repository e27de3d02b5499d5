"""What our writes set off with our role's rights: sequences of defaults, tables of triggers; and an enum's labels."""

import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from urllib.parse import urlsplit

import pytest
from commands import add_usage, ask, usage_jobs
from drift_world import do
from prepaid import prepaid
from role_world import PASSWORD, as_role

pytestmark = pytest.mark.direct("the role is its own")
SERIAL = """
ALTER TABLE credit_transactions DROP COLUMN id; CREATE SEQUENCE "tx ids";
ALTER TABLE credit_transactions ADD id bigint PRIMARY KEY DEFAULT nextval('"tx ids"');
"""
AUDITED = """
CREATE SCHEMA audit; CREATE TABLE audit.log (id bigserial, what text, amount numeric);
CREATE TABLE "by user" (user_id text PRIMARY KEY, amount numeric); CREATE TABLE never (id int);
ALTER TABLE audit.log ENABLE ROW LEVEL SECURITY;
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$
BEGIN
  -- INSERT INTO never
  INSERT INTO audit.log (what, amount) SELECT TG_TABLE_NAME, NEW.amount;
  INSERT INTO "by user" VALUES (NEW.user_id, NEW.amount)
    ON CONFLICT (user_id) DO UPDATE SET amount = "by user".amount + EXCLUDED.amount;
  RETURN NEW;
END $$;
CREATE FUNCTION unasked() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO never VALUES (1); RETURN NEW; END';
CREATE FUNCTION for_owner() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
  'BEGIN INSERT INTO never VALUES (1); RETURN NEW; END';
CREATE TRIGGER keep AFTER INSERT ON credit_transactions FOR EACH ROW EXECUTE FUNCTION keep();
CREATE TRIGGER bought AFTER UPDATE OF total_purchased ON user_credits FOR EACH ROW EXECUTE FUNCTION unasked();
CREATE TRIGGER definer AFTER UPDATE ON user_credits FOR EACH ROW EXECUTE FUNCTION for_owner();
"""
GRANTS = {
    SERIAL: {'USAGE "tx ids"'},
    AUDITED: {"INSERT audit.log", "USAGE audit.log_id_seq"}
    | {f'{right} "by user"' for right in ("INSERT", "SELECT", "UPDATE")},
}
MORE = """
SELECT a.privilege_type || ' ' || c.oid::regclass AS granted FROM pg_class AS c, aclexplode(c.relacl) AS a
WHERE a.grantee = %s::regrole AND c.relnamespace <> 'rollup'::regnamespace"""


@pytest.fixture
def role(ready: str) -> Iterator[str]:
    """A role that `schema --role` made before anything of this was there."""
    name = f"usage_jobs_effects_{urlsplit(ready).path[1:]}"
    prepaid(ready, "ada", purchased="5")
    add_usage(ready)
    made(ready, name)
    do(ready, f"ALTER ROLE {name} PASSWORD '{PASSWORD}'")
    yield name
    do(ready, f"DROP OWNED BY {name}; DROP ROLE {name}")


def made(url: str, role: str) -> None:
    done = usage_jobs("schema", "--role", role, "--apply", url=url)
    assert done.code == 0, done.err


@pytest.mark.parametrize("what", GRANTS, ids=["a sequence", "tables of triggers"])
def test_what_is_set_off(ready: str, role: str, what: str) -> None:
    """Named by check, by name and by what mends it; granted by the script, and no more than that."""
    do(ready, what)
    url = as_role(ready, role)
    found = [each for each in usage_jobs("check", "--json", url=url).object["findings"] if each["level"] != "ok"]
    said = " ".join(f"{each['subject']} {each['remedy']}" for each in found)
    for grant in GRANTS[what]:
        right, _, place = grant.partition(" ")
        assert re.search(rf"GRANT [A-Z, ]*\b{right}\b[A-Z, ]* ON (TABLE|SEQUENCE) (public\.)?{place} TO {role};", said)
    assert "never" not in said
    made(ready, role)
    assert {row["granted"] for row in ask(ready, MORE, role)} == GRANTS[what]
    after = usage_jobs("check", "--json", url=url)
    # Names are granted by a person who wants them in files, not by the script.
    found = [each for each in after.object["findings"] if not each["subject"].startswith("names and e-mail")]
    spoken = [each for each in found if re.search("GRANT|REVOKE", each["remedy"])]
    assert (after.code, spoken) == (0, [])
    ran = usage_jobs("run", url=url)
    assert ran.code == 0, ran.err
    assert ask(ready, "SELECT sum(amount) AS drawn FROM credit_transactions") == [{"drawn": Decimal("-0.1")}]


def test_an_enum_that_lacks_our_word(make_database: Callable[..., str]) -> None:
    """What check says to do is enough."""
    url = make_database(ready=True)
    do(
        url,
        """
        DO $$ DECLARE found record; BEGIN
          FOR found IN SELECT conname FROM pg_constraint WHERE conrelid = 'credit_transactions'::regclass
            AND contype = 'c' LOOP
            EXECUTE format('ALTER TABLE credit_transactions DROP CONSTRAINT %I', found.conname);
          END LOOP;
        END $$;
        CREATE TYPE "kind of tx" AS ENUM ('purchase', 'refund');
        ALTER TABLE credit_transactions ALTER type TYPE "kind of tx" USING type::"kind of tx";
        """,
    )
    prepaid(url, "ada", purchased="5")
    add_usage(url)
    ran = usage_jobs("run", url=url)
    assert (ran.code, "credit_transactions.type: expected an enum with the label 'usage'" in ran.err) == (5, True)
    found = usage_jobs("check", "--json", url=url).object["findings"]
    [remedy] = [each["remedy"] for each in found if each["level"] == "unwritable"]
    do(url, remedy)
    assert usage_jobs("run", url=url).code == 0
    assert ask(url, "SELECT type::text, amount FROM credit_transactions") == [
        {"type": "usage", "amount": Decimal("-0.1")}
    ]
