"""Faults at every moment of real commands, behind a real pooler, until the laws break or the count is reached.

python tests/crash/campaign [--faults 500] [--first-seed 0] [--lanes 4] [--workers 2] [--log FILE] [--only SEED]

Each seed is an episode: which command, which fault, at which statement; --only plays one again. With several workers
batches go side by side, each a user alone, and a statement is not always the same one. --log keeps an outcome a line;
with the same file a campaign that was interrupted goes on where it stood. Exit code 1: a problem.
"""

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1] / "support"), *(str(folder) for folder in HERE.parents[1:3])]

from campaign import Campaign  # noqa: E402 - the path comes first
from report import told  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=500)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--lanes", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--only", type=int)
    given = parser.parse_args()
    campaign = Campaign(
        given.faults,
        given.first_seed,
        given.workers,
        given.log,
        say=lambda line: print(line, flush=True),  # noqa: T201
    )
    outcomes = campaign.run(given.lanes) if given.only is None else [campaign.replay(given.only)]
    print(told(outcomes))  # noqa: T201
    return 1 if any(outcome.problems for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
