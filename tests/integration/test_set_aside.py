"""One customer's trouble is one customer's: what cannot be written for a user leaves everybody else as ever."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from commands import add_row, ask, configured, usage_jobs
from role_world import PASSWORD, as_role

from jobs.pipeline import batches

DAY, TODAY = date(2026, 6, 3), date(2026, 6, 4)
JULY = date(2026, 7, 4)
START = {"USAGE_JOBS_START": "2026-06"}
RAISE = """
CREATE FUNCTION refuse_bob() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN IF NEW.user_id = 'bob' THEN RAISE 'bob is being audited'; END IF; RETURN NEW; END $$;
"""
SWALLOW = """
CREATE FUNCTION swallow_bob() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN IF NEW.user_id = 'bob' THEN RETURN NULL; END IF; RETURN NEW; END $$;
"""
TROUBLE = {
    "a trigger on usage_daily": (
        RAISE + "CREATE TRIGGER t BEFORE UPDATE ON usage_daily FOR EACH ROW EXECUTE FUNCTION refuse_bob()",
        "DROP TRIGGER t ON usage_daily",
        "usage_daily: expected a table that takes what the job writes; found that it refuses (P0001): bob is being",
    ),
    "a trigger that swallows": (
        SWALLOW + "CREATE TRIGGER t BEFORE INSERT ON credit_transactions FOR EACH ROW EXECUTE FUNCTION swallow_bob()",
        "DROP TRIGGER t ON credit_transactions",
        "credit_transactions: expected to write 1 rows; wrote 0",
    ),
    "a trigger at COMMIT": (
        RAISE + "CREATE CONSTRAINT TRIGGER t AFTER UPDATE ON user_credits DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION refuse_bob()",
        "DROP TRIGGER t ON user_credits",
        "the server refuses it at COMMIT (P0001): bob is being audited",
    ),
    "a check of user_credits": (
        "ALTER TABLE user_credits ADD CONSTRAINT c CHECK (user_id <> 'bob' OR total_used = 0)",
        "ALTER TABLE user_credits DROP CONSTRAINT c",
        "user_credits: expected a table that takes what the job writes; found that it refuses (23514)",
    ),
    "a foreign key of credit_transactions": (
        "CREATE TABLE billed (id text PRIMARY KEY); INSERT INTO billed SELECT id FROM users WHERE id <> 'bob';"
        " ALTER TABLE credit_transactions ADD CONSTRAINT c FOREIGN KEY (user_id) REFERENCES billed (id)",
        "ALTER TABLE credit_transactions DROP CONSTRAINT c",
        "credit_transactions: expected a table that takes what the job writes; found that it refuses (23503)",
    ),
}


@pytest.fixture
def url(ready: str, tmp_path: Any) -> str:
    """Three prepaid users with usage of 10 on one day."""
    configured(tmp_path)
    for user in ("ada", "bob", "cy"):
        prepaid(ready, user)
    return ready


def prepaid(url: str, user: str) -> None:
    add_row(url, user_id=user, date=DAY, cpu_hours=100)
    ask(url, "UPDATE users SET billing_mode = 'prepaid' WHERE id = %s", user)
    ask(url, "INSERT INTO user_credits (user_id, total_purchased) VALUES (%s, 50)", user)


def used(url: str) -> dict[str, Decimal]:
    return {row["user_id"]: row["total_used"] for row in ask(url, "SELECT user_id, total_used FROM user_credits")}


def aside(url: str) -> list[str]:
    return [row["user_id"] for row in ask(url, "SELECT user_id FROM rollup.set_aside ORDER BY 1")]


@pytest.mark.thorough
@pytest.mark.parametrize("trouble", TROUBLE)
def test_everybody_else_is_done(url: str, trouble: str) -> None:
    """The user is named with the server's words; once the trouble is over, the next run does what is left."""
    begins, ends, words = TROUBLE[trouble]
    ask(url, begins)
    ran = usage_jobs("run", "--json", url=url, today=TODAY, **START)
    assert ran.code == 3, ran.err
    [note] = [note for note in ran.object["notes"] if note.startswith("set aside")]
    assert f"bob: {words}" in note
    assert used(url) == {"ada": 10, "bob": 0, "cy": 10}
    assert aside(url) == ["bob"]
    assert ask(url, "SELECT user_id FROM rollup.user_monthly ORDER BY 1") == [{"user_id": "ada"}, {"user_id": "cy"}]
    ask(url, ends)
    assert usage_jobs("run", url=url, today=TODAY, **START).code == 0
    assert used(url) == {"ada": 10, "bob": 10, "cy": 10}
    assert aside(url) == []
    assert usage_jobs("reconcile", url=url, today=TODAY, **START).code == 0


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (
            "CREATE POLICY p ON credit_transactions AS RESTRICTIVE USING (true) WITH CHECK (user_id <> 'bob')",
            "credit_transactions: expected a table that takes what the job writes; found that it refuses (42501)",
        ),
        (
            "CREATE POLICY p ON user_credits AS RESTRICTIVE FOR UPDATE USING (user_id <> 'bob')",
            "user_credits: expected to lock 1 rows for an UPDATE; locked 0, although no other",
        ),
        (
            "CREATE POLICY p ON usage_daily AS RESTRICTIVE FOR UPDATE USING (user_id <> 'bob')",
            "usage_daily: expected to lock 1 rows for an UPDATE; locked 0, although no other",
        ),
    ],
)
def test_a_policy_that_keeps_the_role_from_one_user(url: str, policy: str, words: str) -> None:
    role = "usage_jobs_of_policies"
    assert usage_jobs("schema", "--role", role, "--apply", url=url).code == 0
    ask(url, f"ALTER ROLE {role} PASSWORD '{PASSWORD}'")
    table = policy.partition(" ON ")[2].split()[0]
    ask(url, f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY; {policy}")
    try:
        ran = usage_jobs("run", "--json", url=as_role(url, role), today=TODAY, **START)
        assert ran.code == 3, ran.err
        [note] = [note for note in ran.object["notes"] if "bob" in note]
        assert words in note
        assert used(url) == {"ada": 10, "bob": 0, "cy": 10}
    finally:
        ask(url, f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_month_waits_for_who_is_set_aside(url: str) -> None:
    begins, ends, _ = TROUBLE["a check of user_credits"]
    ask(url, begins)
    ran = usage_jobs("run", url=url, today=JULY, **START)
    assert (ran.code, "2026-06 stays open: bob is set aside" in " ".join(ran.out.split())) == (3, True)
    ask(url, ends)
    assert usage_jobs("run", url=url, today=JULY, **START).code == 0
    assert ask(url, "SELECT month FROM rollup.months WHERE closed_at IS NOT NULL") == [{"month": date(2026, 6, 1)}]


def test_who_no_longer_differs_is_no_longer_set_aside(url: str) -> None:
    ask(url, TROUBLE["a check of user_credits"][0])
    assert usage_jobs("run", url=url, today=TODAY, **START).code == 3
    ask(url, "DELETE FROM usage_daily WHERE user_id = 'bob'")
    assert usage_jobs("run", url=url, today=TODAY, **START).code == 0
    assert aside(url) == []


def test_the_trouble_of_many_is_the_tables(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MOST_SET_ASIDE", 2)
    ask(url, "ALTER TABLE user_credits ADD CONSTRAINT c CHECK (total_used = 0)")
    ran = usage_jobs("run", url=url, today=TODAY, **START)
    assert ran.code == 5
    assert "more than 2 users cannot be written; the last one because of: user_credits: expected" in ran.err
    assert set(used(url).values()) == {0}
