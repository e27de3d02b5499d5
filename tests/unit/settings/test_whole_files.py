"""A rate card, a settings file and .env.local are read whole or refused, with file and line; never half a file.

And of two databases that are named, the one that is used.
"""

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from commands import HEADER, RATES, configured, usage_jobs
from told import under, warnings

from jobs.domain.errors import ConfigError
from jobs.domain.rate_card import parse
from jobs.settings import Settings, load, passwords

CPU, GPU = "cpu_hours,2020-01-01,0,0.10,1,", "gpu_hours,2020-01-01,0,0.50,1,"
REF = {"SUPABASE_PROJECT_REF": "abcd", "SUPABASE_DB_PASSWORD": "s3cret", "SUPABASE_REGION": "eu-west-1"}
URL = {"DATABASE_URL": "postgresql://job:s3cret@db.example.test/app"}
POOLER = "aws-0-eu-west-1.pooler.supabase.com"


def settings(directory: Path, env_local: str | bytes = "", **env: str) -> Settings:
    text = env_local if isinstance(env_local, bytes) else env_local.encode()
    (directory / ".env.local").write_bytes(text)
    return load(None, env, directory)


def lines(variables: dict[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in variables.items())


# Rate cards


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f'{CPU}"list\n{GPU}list\n', 2),
        (f'{CPU}list\n{GPU}"list\n', 3),
        (f'{CPU}"list\n{GPU}list"\n', 2),  # two of them, which together would make one value of both lines
        (f'{CPU}"list" price\n', 2),
        (f'"cpu_hours,2020-01-01,0,0.10,1,list\n{GPU}list\n', 2),
    ],
)
def test_a_quotation_mark_that_is_not_closed(text: str, line: int) -> None:
    with pytest.raises(ConfigError, match=rf"^rates.csv line {line}: expected each quotation mark to be closed"):
        parse(HEADER + text, "rates.csv", ["cpu_hours", "gpu_hours"])


@pytest.mark.parametrize(
    ("reference", "read"),
    [('"list, net"', "list, net"), ('"the ""new"" list"', 'the "new" list'), ('a 3.5" disk', 'a 3.5" disk')],
)
def test_a_quotation_mark_that_is_closed_or_inside(reference: str, read: str) -> None:
    card = parse(f"{HEADER}{CPU}{reference}\n{GPU}list\n", "rates.csv", ["cpu_hours", "gpu_hours"])
    assert [held[0].tiers[0].reference for held in card.cards.values()] == [read, "list"]


def test_what_a_spreadsheet_leaves_is_skipped() -> None:
    text = f'# it\'s 5" of "comment\n{CPU}list\n,,,,,\n , ,,,,\n\n"# a, comment",,,,,\n,\r\n{GPU}list\r\n,,,,,,,\n'
    card = parse(HEADER + text, "rates.csv", ["cpu_hours", "gpu_hours"])
    assert card.lines() == {"cpu_hours from 2020-01-01": 3, "gpu_hours from 2020-01-01": 9}


def test_the_whole_command_refuses_it(tmp_path: Path) -> None:
    configured(tmp_path, rates=RATES.replace(",1,list\ngpu", ',1,"list\ngpu', 1))
    ran = usage_jobs("runs", "--json", url="postgresql://nobody@localhost:1/none")
    assert (ran.code, "config/rates.csv line 2: expected each quotation mark" in ran.object["error"]) == (2, True)


# .env.local


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("USAGE_JOBS_COST='rated\nUSAGE_JOBS_TIERS=month\nDATABASE_URL=postgresql://h/d\n", 1),
        ('# address\n\nDATABASE_URL="postgresql://job:s3cret@h/d\nUSAGE_JOBS_COST=rated\n', 3),
        ("USAGE_JOBS_COST='rated\nUSAGE_JOBS_TIERS=month'\n", 1),
        ("OTHER='rated\nDATABASE_URL=s3cret\nMORE=it's\n", 1),
        ("OTHER='one\nexport USAGE_JOBS_COST=rated'\n", 1),
        ("USAGE_JOBS_COST='rated' or 's3cret'\n", 1),
        ("A=1\nDATABASE_URL: postgresql://job:s3cret@h/d\n", 2),
        ("A=1\nUSAGE_JOBS_COST rated\n", 2),
        ("A=1\nUSAGE_JOBS_COST\n", 2),
        ("A=1\n\n\n=rated\n", 4),
        ('SUPABASE_DB_PASSWORD="s3\\ncret"\n', 1),
        ("USAGE_JOBS_COST=rated\nA=1\nUSAGE_JOBS_COST=recorded\n", 3),
        (b"A=1\nUSAGE_JOBS_COST=rat\xe9d\n", 2),
    ],
)
def test_a_line_of_env_local_that_is_none(tmp_path: Path, text: str | bytes, line: int) -> None:
    with pytest.raises(ConfigError, match=rf"\.env\.local line {line}: ") as refused:
        settings(tmp_path, text)
    assert "cret" not in str(refused.value)


def test_what_env_local_may_hold(tmp_path: Path) -> None:
    key = "-----BEGIN KEY-----\nQyNTUxOQAAACBabc=\n-----END KEY-----"
    text = f"\ufeffUSAGE_JOBS_CURRENCY = EUR # ours\r\nKEY='{key}'\nTWICE=1\nTWICE=2\nEMPTY=\n#DATABASE_URL: x\n"
    found = settings(tmp_path, text + "export USAGE_JOBS_COST='rated'\nDATABASE_URL=postgresql://job:pa#${s3'@h/d")
    assert (found.currency, found.cost) == ("EUR", "rated")
    assert found.address == "postgresql://job:pa#${s3'@h/d?sslmode=require"


def test_secrets_of_a_file_that_has_become_unreadable_are_still_known(tmp_path: Path) -> None:
    """A process that stays up read it when it was whole."""
    (tmp_path / ".env.local").write_bytes(b"SUPABASE_DB_PASSWORD=s3cret\nB: \xe9\nA='\n")
    assert "s3cret" in passwords({}, tmp_path)


# Settings


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"cost = 'rated'\ncurrency = 'EUR", "line 2"),
        (b"cost = 'rated'\n[meters.cpu_hours\n", "line 2"),
        (b"cost = 'rated'\ncurrency = '''EUR\n\n", "line 3"),
        (b"cost = 'rated'\ncost = 'rated'\n", "line 2"),
        (b"cost = 'rated'\n# \xe9\n", "line 2: expected UTF-8 text"),
    ],
)
def test_a_settings_file_that_cannot_be_read_whole(tmp_path: Path, text: bytes, words: str) -> None:
    (tmp_path / "settings.toml").write_bytes(text)
    with pytest.raises(ConfigError, match=rf"settings\.toml.*{words}"):
        settings(tmp_path)


# Which of two databases


@pytest.mark.parametrize(
    ("env", "env_local", "host", "told"),
    [
        (REF, URL, POOLER, None),
        (URL, REF, "db.example.test", None),
        (
            {"SUPABASE_DB_PASSWORD": "s3cret"},
            {"SUPABASE_PROJECT_REF": "abcd", "SUPABASE_REGION": "eu-west-1"},
            POOLER,
            None,
        ),
        ({"SUPABASE_DB_PASSWORD": "s3cret"}, URL | REF, POOLER, None),
        (
            {},
            URL | REF,
            "db.example.test",
            ".env.local has DATABASE_URL and SUPABASE_PROJECT_REF: DATABASE_URL is used",
        ),
        (
            URL | REF,
            {},
            "db.example.test",
            "the environment has DATABASE_URL and SUPABASE_PROJECT_REF: DATABASE_URL is",
        ),
        (URL | REF, URL, "db.example.test", "the environment has DATABASE_URL and SUPABASE_PROJECT_REF"),
    ],
)
def test_the_environment_as_a_whole_comes_before_env_local(
    tmp_path: Path, env: dict[str, str], env_local: dict[str, str], host: str, told: str | None
) -> None:
    found = settings(tmp_path, lines(env_local), **env)
    assert urlsplit(found.address or "").hostname == host
    assert (found.warning is None) if told is None else (found.warning or "").startswith(told)


def test_half_an_address_in_the_environment_is_no_other_database(tmp_path: Path) -> None:
    half = {name: value for name, value in REF.items() if name != "SUPABASE_PROJECT_REF"}
    with pytest.raises(
        ConfigError, match="SUPABASE_DB_PASSWORD is set in the environment, which comes before"
    ) as refused:
        settings(tmp_path, lines(URL), **half)
    assert "expected SUPABASE_PROJECT_REF" in str(refused.value)
    assert "s3cret" not in str(refused.value)


def test_both_in_one_place_are_named_on_standard_error(ready: str, tmp_path: Path) -> None:
    (tmp_path / ".env.local").write_text(lines(REF))
    assert warnings(usage_jobs("runs", url=ready)) == []
    [warning] = warnings(under(REF, "runs", url=ready))
    assert "DATABASE_URL is used" in warning
