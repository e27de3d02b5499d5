"""focus-validator (PyPI) in an environment of its own: its dependencies are not ours. A plugin, for its fixture."""

import re
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

PACKAGES = ("focus-validator==2.2.1", "pyarrow<20")
NOT_FOR_3_11 = """", ".join(f"'{k.replace('\\"', '\\"\\"')}'" for k in ignore_keys)"""
MENDED = """", ".join("'" + k.replace('"', '""') + "'" for k in ignore_keys)"""
"""One f-string needs Python 3.12; the package works on 3.11 otherwise."""
CRITERIA = (
    "NEGOTIATED_PRICING_SUPPORTED",
    "PUBLIC_PRICE_LIST_SUPPORTED",
    "USAGE_MEASUREMENT_SUPPORTED",
    "UNIT_PRICING_SUPPORTED",
    "SUB_ACCOUNT_SUPPORTED",
    "BILLING_BASED_ON_PROVISIONED_RESOURCES_SUPPORTED",
    "RESOURCE_TYPE_ASSIGNMENT_SUPPORTED",
    "MULTIPLE_PRICING_CATEGORIES_SUPPORTED",
)
"""What this service has: rules for it are checked, too."""
NOT_MEETABLE = {
    # Rules -004 (must be null without an invoice) and -005 (must not be null with one) are for different rows, but each
    # is asked of all rows. Rule -003, that one of both holds, is met.
    "InvoiceId-C-005-C",
    # For prices in another currency AND published prices; the validator asks it where one of both is so.
    *(f"CostAndUsage-D-{n:03}-C" for n in (46, 47, 48, 50, 51, 52, 54, 55, 56)),
}
NOT_MEETABLE_OF = re.compile(r"PricingCurrency(ContractedUnitPrice|EffectiveCost|ListUnitPrice)-C-\d{3}-[A-Z]")
"""What follows from the absence of these columns."""
FAILED = re.compile(r"^❌ (\S+): FAIL\s+\((.*)\)$", re.MULTILINE)
PASSED = re.compile(r"^✅ (\S+): PASS", re.MULTILINE)

Validate = Callable[[Path], dict[str, str]]


@pytest.fixture(scope="session")
def validate_focus(tmp_path_factory: pytest.TempPathFactory) -> Validate:
    """A function that returns the rules of FOCUS 1.2 that a file breaks, each with what the validator says."""
    folder = tmp_path_factory.mktemp("focus-validator")
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    install = [python, "-m", "pip", "install", "-q", "--ignore-requires-python", *PACKAGES]
    done = subprocess.run(install, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        pytest.skip(f"pip cannot install {PACKAGES[0]}: {done.stderr.strip().splitlines()[-1:]}")
    [source] = folder.glob("lib/python3*/site-packages/focus_validator/config_objects/focus_to_duckdb_converter.py")
    if sys.version_info < (3, 12):
        text = source.read_text(encoding="utf-8")
        assert text.count(NOT_FOR_3_11) == 1
        source.write_text(text.replace(NOT_FOR_3_11, MENDED), encoding="utf-8")

    def validate(file: Path) -> dict[str, str]:
        options = ["--validate-version", "1.2", "--focus-dataset", "CostAndUsage", "--block-download"]
        options += ["--applicability-criteria", ",".join(CRITERIA)]
        command = [python, "-m", "focus_validator.main", "--data-file", str(file), *options]
        # It looks for its rules in the folder where it is started.
        ran = subprocess.run(
            command, cwd=source.parents[2], capture_output=True, text=True, check=False, env={"PYTHONUTF8": "1"}
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert len(PASSED.findall(ran.stdout)) > 200, ran.stdout
        found = dict(FAILED.findall(ran.stdout))
        return {name: why for name, why in found.items() if not is_left_out(name)}

    return validate


def is_left_out(rule: str) -> bool:
    return rule in NOT_MEETABLE or NOT_MEETABLE_OF.fullmatch(rule) is not None
