"""The command line of the comparison with the peers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers import PEERS
from gailfe_jax.bench.registry import load
from gailfe_jax.errors import GailfeError, refusal
from gailfe_jax.io.atomic import write_json_atomic

PROGRAM = "benchmarks.peers"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a comparison and returns the exit code: 0 done, 2 bad input, 130 interrupted.

    Raises:
      SystemExit: after help (0), or words that do not parse (2).
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {PROGRAM}",
        description="Train beside imitation's GAIL and Stable-Baselines3's PPO or SAC, installed under runs/.",
    )
    # What is not given is not passed on: the comparisons have their own defaults.
    flags: dict[str, dict[str, Any]] = {
        "--env": {"nargs": "+", "help": "compare on these tasks (halfcheetah; hopper with --learning)"},
        "--repeats": {"type": int, "help": "report the median of this many repeats (5)"},
        "--seeds": {"type": int, "help": "train this many times (1; needs --learning)"},
        "--time-limit": {"type": float, "help": "give up after these seconds of training (1200; needs --learning)"},
    }
    for flag, settings in flags.items():
        parser.add_argument(flag, default=argparse.SUPPRESS, **settings)
    about = "measure how long GAIL takes to reach 0.9 of the expert's return, instead of steps/s"
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--learning", action="store_true", help=about)
    which.add_argument("--replay", action="store_true", help="compare SAC, which learns from replay")
    parser.add_argument("--out", type=Path, help="write the result to this JSON file, and a figure (.png) beside it")
    options = vars(parser.parse_args(argv))
    learning, replay, out = options.pop("learning"), options.pop("replay"), options.pop("out")
    for flag, belongs in (("repeats", not learning), ("seeds", learning), ("time_limit", learning)):
        if flag in options and not belongs:
            parser.error(f"--{flag.replace('_', '-')} goes {'without' if learning else 'with'} --learning")
    comparison = load("peers_learning" if learning else "peers_replay" if replay else "peers", PEERS)
    try:
        report = comparison.run(**options)
        comparison.show(report)
        if out:
            write_json_atomic(out, report)
            comparison.draw(report, out.with_suffix(".png"))
    except (GailfeError, OSError) as error:
        print(f"{PROGRAM}: error: {refusal(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
