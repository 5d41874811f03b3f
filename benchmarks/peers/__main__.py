"""The command line of the comparison with the peers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers import PEERS
from gailfe_jax.bench.registry import load
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.atomic import write_json_atomic

PROGRAM = "benchmarks.peers"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a comparison and returns the exit code: 0 done, 2 bad input, 130 interrupted.

    Raises:
      SystemExit: after help (0), or words that do not parse (2).
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {PROGRAM}",
        description="Training beside imitation's GAIL and Stable-Baselines3's PPO, which are installed under runs/.",
    )
    # What is not given is not passed on, so that the defaults stand in one place.
    add = parser.add_argument
    add("--env", nargs="+", default=argparse.SUPPRESS, help="tasks; halfcheetah, with --learning hopper by default")
    add("--repeats", type=int, default=argparse.SUPPRESS, help="timed repeats of steps/s; 5 by default")
    add("--learning", action="store_true", help="time until GAIL reaches 0.9 of the expert's return, not steps/s")
    add("--seeds", type=int, default=argparse.SUPPRESS, help="with --learning: runs of each; 1 by default")
    add(
        "--time-limit", type=float, default=argparse.SUPPRESS,
        help="with --learning: seconds of training after which a run counts as not reached; 1200 by default",
    )  # fmt: skip
    add("--out", type=Path, help="write the JSON result here, and a figure (.png) beside it")
    options = vars(parser.parse_args(argv))
    learning, out = options.pop("learning"), options.pop("out")
    for flag, belongs in (("repeats", not learning), ("seeds", learning), ("time_limit", learning)):
        if flag in options and not belongs:
            parser.error(f"--{flag.replace('_', '-')} goes {'without' if learning else 'with'} --learning")
    comparison = load("peers_learning" if learning else "peers", PEERS)
    try:
        report = comparison.run(**options)
        comparison.show(report)
        if out:
            write_json_atomic(out, report)
            comparison.draw(report, out.with_suffix(".png"))
    except (GailfeError, OSError) as error:
        print(f"{PROGRAM}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
