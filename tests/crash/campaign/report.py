"""What a campaign comes to: by kind of fault, how commands ended and how soon everything was done."""

from collections import Counter
from collections.abc import Sequence

from episode import Outcome
from faults import KINDS
from plays import DONE

HEAD = f"{'fault':<9}{'struck':>7}{'went on':>9}{'ended':>7}{'recovery p50':>14}{'p95':>7}{'max':>7}"


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share does not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1)] if ordered else 0.0


def told(outcomes: Sequence[Outcome]) -> str:
    lines = [HEAD, *(_line(kind, outcomes) for kind in KINDS), _line("all", outcomes)]
    problems = [f"seed {o.seed} ({o.play}): {p}" for o in outcomes for p in o.problems]
    codes = Counter(fault["code"] for o in outcomes for fault in o.faults)
    terms = [f["took"] for o in outcomes for f in o.faults if f["kind"] == "term"]
    lines.append("exit codes: " + ", ".join(f"{code} × {count}" for code, count in sorted(codes.items())))
    lines.append(f"longest from SIGTERM to the end: {max(terms, default=0):.1f} s")
    lines.append(f"{len(outcomes)} episodes, {len(problems)} problems")
    return "\n".join([*lines, *problems])


def _line(kind: str, outcomes: Sequence[Outcome]) -> str:
    faults = [fault for o in outcomes for fault in o.faults if kind in (fault["kind"], "all")]
    went_on = sum(fault["code"] in DONE for fault in faults)
    last = [o for o in outcomes if o.recovery is not None and kind in (o.faults[-1]["kind"], "all")]
    times = [o.recovery for o in last if o.recovery is not None]
    p50, p95, longest = (quantile(times, share) for share in (0.5, 0.95, 1))
    return f"{kind:<9}{len(faults):>7}{went_on:>9}{len(faults) - went_on:>7}{p50:>14.1f}{p95:>7.1f}{longest:>7.1f}"
