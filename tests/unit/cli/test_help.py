"""`--help` is quick: it imports none of the libraries that take long to import."""

import subprocess
import sys

SLOW = {"polars", "pydantic", "psycopg", "rich", "structlog", "apscheduler", "connectorx"}
START = """
import sys
from jobs.cli.main import main
try:
    main(["run", "--help"])
except SystemExit:
    print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""


def test_help_imports_no_slow_library() -> None:
    ran = subprocess.run([sys.executable, "-c", START], capture_output=True, text=True, check=True)
    assert "usage-jobs run" in ran.stdout
    assert "argparse" in ran.stderr.split()
    assert not SLOW & set(ran.stderr.split())
