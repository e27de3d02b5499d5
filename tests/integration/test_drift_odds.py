"""What drifts besides tables and columns: several things at once, constraints that the job's writes meet, scales; and a
meter whose column appears later. On the worlds of test_drift.py."""

import re
from pathlib import Path

import pytest
from commands import RATES, ask, configured
from drift_figures import differences, digest, figures, plain
from drift_verdicts import Worlds, ended
from drift_world import CARDS, command, do


@pytest.fixture
def url(worlds: Worlds) -> str:
    """A world of shape A."""
    return worlds.copy("a")


def findings(url: str, level: str, shape: str = "a") -> dict[str, dict[str, str]]:
    """What `check` says at that level, by subject."""
    found = command(shape, url, "check", "--json").object["findings"]
    return {finding["subject"]: finding for finding in found if finding["level"] == level}


# Several things at once, and back again

SEVERAL = """
ALTER TABLE usage_daily RENAME COLUMN gpu_hours TO gpus; ALTER TABLE usage_daily ALTER total_cost TYPE text;
ALTER TABLE user_credits ALTER total_used DROP DEFAULT, ALTER total_used TYPE real;
ALTER TABLE rollup.months ALTER row_count TYPE text; ALTER TABLE rollup.runs DROP COLUMN error; DROP TABLE users;
"""


def test_everything_that_is_in_the_way_is_named_at_once(url: str) -> None:
    do(url, SEVERAL)
    refused = findings(url, "refused")
    named = {"usage_daily.gpu_hours", "usage_daily.total_cost", "user_credits.total_used"}
    assert refused.keys() == named | {"rollup.months.row_count", "rollup.runs"}
    for finding in refused.values():
        assert all(finding[name] for name in ("expected", "found", "consequence", "remedy")), finding
    assert all(finding["consequence"] for finding in findings(url, "note").values())
    ran = command("a", url, "run")
    assert ran.code == 5
    assert [subject for subject in refused if subject not in ran.err] == []
    # `check` shows each as a block: what, expected, found, what follows and what to do; their number at the end.
    lines = command("a", url, "check").out.splitlines()
    assert max(map(len, lines)) <= 100
    start = lines.index("REFUSED  usage_daily.gpu_hours")
    block = "\n".join(lines[start : lines.index("", start)])
    assert re.findall(r"^  (\w+)  ", block, re.MULTILINE) == ["expected", "found", "so", "do"]
    assert lines[-1].startswith(f"refused: {len(refused)}")


@pytest.mark.thorough
def test_what_was_refused_goes_on_where_it_was_once_it_is_repaired(worlds: Worlds, url: str) -> None:
    do(url, "ALTER TABLE usage_daily RENAME COLUMN user_id TO who; ALTER TABLE rollup.months RENAME TO aside")
    assert command("a", url, "run").code == 5
    do(url, "ALTER TABLE usage_daily RENAME COLUMN who TO user_id; ALTER TABLE rollup.aside RENAME TO months")
    assert command("a", url, "run").code == 3
    assert differences(figures(url), worlds.expected("a")) == []


# What the job's writes meet that no type tells of

ODDS = {
    "credit_transactions": (
        "ALTER TABLE credit_transactions ADD COLUMN currency text; UPDATE credit_transactions SET currency = 'USD'; "
        "ALTER TABLE credit_transactions ALTER currency SET NOT NULL",
        "ALTER TABLE credit_transactions ALTER id DROP DEFAULT",
        "ALTER TABLE credit_transactions DROP CONSTRAINT credit_transactions_type_check; "
        "ALTER TABLE credit_transactions ADD CHECK (type IN ('purchase', 'grant', 'charge')) NOT VALID",
        "ALTER TABLE credit_transactions ALTER description TYPE varchar(10) USING left(description, 10)",
        "CREATE UNIQUE INDEX ON credit_transactions (user_id) WHERE type = 'usage' AND amount < -9",
    ),
    "user_credits": (
        "ALTER TABLE user_credits DROP COLUMN total_used; "
        "ALTER TABLE user_credits ADD COLUMN total_used numeric GENERATED ALWAYS AS (total_purchased * 0) STORED",
        "ALTER TABLE user_credits DROP CONSTRAINT user_credits_user_id_key; "
        "INSERT INTO user_credits (user_id, total_purchased) SELECT user_id, 5 FROM user_credits",
    ),
    "usage_daily": ("ALTER TABLE usage_daily ADD CHECK (credits_deducted < 1) NOT VALID",),
}


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("table", "statement"),
    [(table, text) for table, texts in ODDS.items() for text in texts],
    ids=lambda text: text[:90],
)
def test_a_write_that_the_table_refuses_is_named(worlds: Worlds, url: str, table: str, statement: str) -> None:
    """Exit 5 with the table's name and nothing half-written; or those are set aside whom it concerns, with its name; or
    the same figures."""
    do(url, statement)
    before = digest(url)
    ran = command("a", url, "run")
    assert ran.code in (3, 5), ended(ran)
    assert "Traceback" not in ran.err
    if ran.code == 5:
        assert table in ran.err, ended(ran)
        changed = {name for name, text in digest(url).items() if before[name] != text}
        assert changed <= {"rollup.runs", "rollup.billing_modes"}
    elif aside := [row["reason"] for row in ask(url, "SELECT reason FROM rollup.set_aside")]:
        assert all(table in reason for reason in aside), aside
        assert command("a", url, "reconcile").code == 0
    else:
        assert differences(figures(url), worlds.expected("a")) == []


SET = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET {} = {}', current_database()); END $$"
SETTINGS = {
    "timezone": "''Pacific/Kiritimati''",
    "datestyle": "''German, DMY''",
    "intervalstyle": "iso_8601",
    "extra_float_digits": "0",
    "bytea_output": "escape",
    "search_path": "old",
    "default_transaction_isolation": "''serializable''",
    "standard_conforming_strings": "off",
}
"""What a database may tell every session that begins."""

SAME = {
    "partitioned by month": "ALTER TABLE usage_daily RENAME TO aside; "
    "CREATE TABLE usage_daily (LIKE aside INCLUDING DEFAULTS) PARTITION BY RANGE (date); "
    "CREATE TABLE usage_may PARTITION OF usage_daily FOR VALUES FROM ('2026-05-01') TO ('2026-06-01'); "
    "CREATE TABLE usage_june PARTITION OF usage_daily DEFAULT; INSERT INTO usage_daily SELECT * FROM aside; "
    "ALTER TABLE usage_daily ADD UNIQUE (id, date)",
    "columns": "; ".join(
        (
            # columns in another order, and no index
            "ALTER TABLE usage_daily ADD COLUMN moved text; "
            "UPDATE usage_daily SET moved = user_id; ALTER TABLE usage_daily DROP COLUMN user_id; "
            "ALTER TABLE usage_daily RENAME COLUMN moved TO user_id",
            # a generated quantity
            "ALTER TABLE usage_daily RENAME COLUMN cpu_hours TO cpu_seconds; "
            "UPDATE usage_daily SET cpu_seconds = cpu_seconds * 3600; "
            "ALTER TABLE usage_daily ADD COLUMN cpu_hours numeric GENERATED ALWAYS AS (cpu_seconds / 3600) STORED",
            # a mode that is an enum
            "ALTER TABLE users DROP CONSTRAINT users_billing_mode_check; "
            "CREATE TYPE mode AS ENUM ('prepaid', 'postpaid'); "
            "ALTER TABLE users ALTER billing_mode TYPE mode USING billing_mode::mode",
            # more columns than ever
            "ALTER TABLE usage_daily ADD COLUMN project_count integer, ADD COLUMN vm text; "
            "ALTER TABLE users ADD COLUMN phone text; ALTER TABLE user_credits ADD COLUMN note jsonb DEFAULT '{}'",
        )
    ),
    "settings and another schema": "; ".join(
        ["CREATE SCHEMA old; CREATE TABLE old.usage_daily (id text, cpu_hours real)"]
        + [SET.format(name, value) for name, value in SETTINGS.items()]
    ),
}


@pytest.mark.thorough
@pytest.mark.parametrize("statement", SAME.values(), ids=SAME)
def test_what_makes_no_difference_makes_none(worlds: Worlds, url: str, statement: str) -> None:
    do(url, statement)
    assert (command("a", url, "check").code, command("a", url, "run").code) == (0, 3)
    assert command("a", url, "reconcile").code == 0
    assert differences(figures(url), worlds.expected("a")) == []


def test_accounts_in_whole_units_are_named(url: str) -> None:
    """They declare a ledger without decimals: what is drawn would be rounded, and what was drawn be given back."""
    do(url, "ALTER TABLE user_credits ALTER total_purchased TYPE bigint")
    before = figures(url)["rollup.credit_draws"]
    told = {**findings(url, "refused"), **findings(url, "note"), **findings(url, "unwritable")}
    ran = command("a", url, "run")
    if ran.code == 5:
        assert "user_credits.total_purchased" in ran.err
    else:
        after = figures(url)["rollup.credit_draws"]
        assert "user_credits.total_purchased" in told, f"{len(after) - len(before)} draws were made or undone"


def test_both_kinds_of_credit_counted_in_one_column_are_drawn_as_before(worlds: Worlds, url: str) -> None:
    """A migration that adds up what it drops; without that the account would have what it has spent once more."""
    do(url, "UPDATE user_credits SET total_used = total_used + free_credits_used")
    do(url, "ALTER TABLE user_credits DROP COLUMN free_credits_used")
    assert (command("a", url, "check").code, command("a", url, "run").code) == (0, 3)
    but = ("user_credits.total_used", "user_credits.free_credits_used")
    assert differences(figures(url), worlds.expected("a"), but=but) == []
    [used] = ask(url, "SELECT sum(total_used) AS used FROM user_credits")
    [drawn] = ask(url, "SELECT sum(free + purchased) AS used FROM rollup.credit_draws")
    assert used == drawn
    assert command("a", url, "reconcile").code == 0


# credits.feature_flag


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE users DROP COLUMN feature_flags",
        "ALTER TABLE users ALTER feature_flags DROP DEFAULT, ALTER feature_flags TYPE text",
    ],
)
def test_a_flag_that_decides_who_pays_is_needed(url: str, tmp_path: Path, statement: str) -> None:
    do(url, statement)
    assert command("a", url, "check").code == 0, "without the setting nobody looks at it"
    configured(tmp_path, rates=CARDS, settings='[credits]\nfeature_flag = "prepaid"\n')
    before = digest(url)
    assert "users.feature_flags" in findings(url, "refused")
    for word in ("run", "reconcile"):
        ran = command("a", url, word)
        assert (ran.code, "users.feature_flags" in ran.err) == (5, True), ended(ran)
    assert digest(url) == before


# A meter whose column appears later

APPEARS = "ALTER TABLE usage_daily ADD COLUMN instance_hours {}; UPDATE usage_daily SET instance_hours = 5"
JUNE = (
    "SELECT sum(instance_hours) AS hours, sum(instance_hours_cost) AS cost"
    " FROM rollup.user_monthly WHERE month > '2026-05-01'"
)
"""13 rows of June are accepted: 65 hours, which cost 13."""


def joined(url: str) -> tuple[str, str]:
    """Hours and cost in the open month, as texts."""
    [found] = ask(url, JUNE)
    return plain(found["hours"]), plain(found["cost"])


@pytest.mark.parametrize("kind", ["numeric(10,2)", "real"])
def test_an_optional_meter_joins_when_its_column_appears(url: str, kind: str) -> None:
    assert "usage_daily.instance_hours" in " ".join(findings(url, "note"))
    do(url, APPEARS.format(kind))
    assert "usage_daily.instance_hours" not in " ".join(findings(url, "note"))
    assert command("a", url, "run").code == 3
    assert joined(url) == ("65", "13")
    assert command("a", url, "reconcile").code == 0
    may = "SELECT sum(instance_hours) AS hours FROM rollup.user_monthly WHERE month = '2026-05-01'"
    assert ask(url, may) == [{"hours": 0}], "a closed month stays as it is"


def test_an_optional_meter_of_a_type_that_is_not_exact_does_not_join_in_silence(url: str) -> None:
    do(url, APPEARS.format("text").replace("= 5", "= '5'"))
    told = {**findings(url, "refused"), **findings(url, "note")}
    assert "text" in told["usage_daily.instance_hours"]["found"]
    assert command("a", url, "run").code in (3, 5)
    assert ask(url, JUNE)[0]["cost"] == 0


@pytest.mark.thorough
def test_an_optional_meter_without_a_card_is_left_out_until_it_has_one(url: str, tmp_path: Path) -> None:
    do(url, APPEARS.format("numeric"))
    configured(tmp_path, rates=RATES)
    assert "card of instance_hours (optional meter)" in findings(url, "note")
    assert command("a", url, "run").code == 3
    assert joined(url) == ("0", "0")
    configured(tmp_path, rates=RATES + "instance_hours,2026-06-20,0,0.20,1,list\n")
    assert "none before 2026-06-20" in findings(url, "note")["card of instance_hours (optional meter)"]["found"]
    assert command("a", url, "run").code == 3
    assert joined(url) == ("25", "5")
    configured(tmp_path, rates=CARDS)
    assert command("a", url, "run").code == 3
    assert joined(url) == ("65", "13")


def test_a_meter_that_is_not_optional_is_refused_until_its_column_appears(url: str, tmp_path: Path) -> None:
    settings = (
        '[meters.cpu_hours]\ncolumn = "cpu_hours"\n[meters.instance_hours]\ncolumn = "vm_hours"\noptional = false\n'
    )
    cards = CARDS.splitlines(keepends=True)
    configured(tmp_path, rates="".join([*cards[:2], cards[-1]]), settings=settings)
    assert "usage_daily.vm_hours (meter instance_hours)" in findings(url, "refused")
    ran = command("a", url, "run")
    assert (ran.code, "usage_daily.vm_hours (meter instance_hours)" in ran.err) == (5, True)
    do(url, "ALTER TABLE usage_daily ADD COLUMN vm_hours numeric DEFAULT 5")
    assert command("a", url, "run").code == 3
    assert joined(url) == ("65", "13")
