"""Any number of runs: `python tests/chaos/run.py --runs 100 --seed 1 [--only KIND]`. One line each, then a table.

A run is drawn from its seed, so that one that failed can be seen again; processes keep their own time, so that it may
take another course. Exits with 1 if any invariant was violated.
"""
# ruff: noqa: T201

import argparse
import signal
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from consumer import embedded  # noqa: E402
from invariants import Violation  # noqa: E402
from plan import KINDS, Plan, draw  # noqa: E402
from postgres import Databases  # noqa: E402
from scene import Outcome, play  # noqa: E402

SETTINGS = {"fsync": "off", "full_page_writes": "off"}
"""No disk is waited for: the server is killed, and the machine is not."""


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10, help="how many (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the first; each further one has the next (%(default)s)")
    parser.add_argument("--only", choices=KINDS, help="only this kind of faults")
    parser.add_argument("--logs", type=Path, help="a folder for what the workers said in runs that failed")
    args = parser.parse_args()
    # Workers must not outlive it.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    outcomes = []
    with embedded.start(settings=SETTINGS) as server:
        databases = Databases(server.dsn(user="supabase_admin"))
        for seed in range(args.seed, args.seed + args.runs):
            outcome = one(draw(seed, args.only), server, databases)
            outcomes.append(outcome)
            tell(outcome)
            if outcome.log and args.logs:
                args.logs.mkdir(parents=True, exist_ok=True)
                (args.logs / f"{seed}-{outcome.plan.kind}.log").write_text(f"{outcome.plan}\n{outcome.log}")
    summarize(outcomes)
    return any(outcome.violations for outcome in outcomes)


def one(plan: Plan, server: embedded.Server, databases: Databases) -> Outcome:
    """The outcome of a run; one that breaks off has failed, and the next one comes."""
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        try:
            return play(plan, server, databases, Path(folder))
        except Exception as error:  # noqa: BLE001 told as what it is
            traceback.print_exc()
            broken = Violation("the run comes to its end", "the run", f"{type(error).__name__}: {error}"[:500])
            return Outcome(plan, violations=[broken])


def tell(outcome: Outcome) -> None:
    """One line, and one for each violation."""
    plan = outcome.plan
    busy = f" (this machine stood still for {outcome.slept:.1f} s)" if outcome.slept > 1 else ""
    parts = (
        f"seed {plan.seed} {plan.kind}/{plan.storage}/{plan.lease:g} {outcome.seconds:.1f} s",
        listed(outcome.faults), listed(outcome.ends), f"attempts {listed(outcome.attempts)}",
        f"{len(outcome.violations)} violations{busy}",
    )  # fmt: skip
    print(*parts, sep=" | ", flush=True)
    for violation in outcome.violations:
        print(f"  VIOLATED: {violation.invariant}: {violation.subject} {violation.what}", flush=True)


def listed(counts: Counter[str] | Counter[int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()) if count) or "none"


def summarize(outcomes: list[Outcome]) -> None:
    """All runs by kind, and all faults."""
    print(f"\n{'kind':<12}{'runs':>6}{'jobs':>8}{'completed':>11}{'failed':>8}{'cancelled':>11}{'violations':>12}")
    for kind in KINDS:
        some = [outcome for outcome in outcomes if outcome.plan.kind == kind]
        ends = sum((outcome.ends for outcome in some), Counter[str]())
        columns = (ends.total(), ends["completed"], ends["failed"], ends["cancelled"])
        violations = sum(len(outcome.violations) for outcome in some)
        print(f"{kind:<12}{len(some):>6}{columns[0]:>8}{columns[1]:>11}{columns[2]:>8}{columns[3]:>11}{violations:>12}")
    print("\nfaults that happened")
    for name, times in sorted(sum((outcome.faults for outcome in outcomes), Counter[str]()).items()):
        print(f"  {name:<28}{times:>8}")
    failed = [outcome.plan.seed for outcome in outcomes if outcome.violations]
    print(f"\n{len(outcomes)} runs, seeds with violations: {failed or 'none'}")


if __name__ == "__main__":
    sys.exit(main())
