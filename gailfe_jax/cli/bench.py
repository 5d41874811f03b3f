"""`gailfe bench`."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, Literal

from gailfe_jax.cli.parsing import Positional, parse
from gailfe_jax.errors import GailfeError


@dataclasses.dataclass(frozen=True)
class Bench:
    """Measure speed beside the bare engine in the same run. Compilation is timed apart.

    - physics: step the engine inside a jitted scan (halfcheetah and hopper by default).
    - train: time whole training iterations (gail and gailfe on halfcheetah).
    - sweep: train seeds in one program, one by one, and in processes of their own (gail on halfcheetah).
    - scaling: measure speed and memory along --axis (halfcheetah; each axis has its own method).
    - profile: time the parts of an iteration (gail on halfcheetah).
    - fidelity: show what MJX's cheaper settings save and how far off they are (halfcheetah and hopper).
    - horizon: time MAIL's gradient by itself (hopper).
    - peers: train beside imitation's GAIL and Stable-Baselines3's PPO (halfcheetah; hopper with --learning).
      This needs a checkout; the peers are installed under runs/.
    """

    what: Positional[Literal["physics", "train", "sweep", "scaling", "profile", "fidelity", "horizon", "peers"]]
    """Choose the benchmark."""
    env: tuple[str, ...] = ()
    """Measure on these tasks instead of the benchmark's own."""
    algo: tuple[str, ...] = ()
    """Measure these methods instead of the benchmark's own (train; sweep and profile take one)."""
    engine: str = "auto"
    """Choose the physics engine. For fidelity, auto is mjx."""
    num_envs: tuple[int, ...] = (256,)
    """Step this many environments (physics)."""
    seeds: int | None = None
    """Train this many seeds (sweep, 8 by default), or run each peer so often (peers with --learning, 1)."""
    axis: Literal["envs", "seeds", "width", "horizon", "failures"] = "envs"
    """Vary this (scaling)."""
    values: tuple[int, ...] = ()
    """Give the axis these values (scaling). Each axis has its own defaults."""
    repeats: int | None = None
    """Report the median of this many repeats (5 by default, 3 for scaling and fidelity)."""
    learning: bool = False
    """Measure how long GAIL takes to reach 0.9 of the expert's return, instead of steps/s (peers)."""
    time_limit: float = 1200.0
    """Give a run up after this many seconds of training (peers with --learning)."""
    out: str | None = None
    """Write the result to this JSON file, and a figure (.png) beside it."""

    def __call__(self) -> int:
        from gailfe_jax.training.logger import write_json_atomic

        report = self._measured()
        show, draw = benchmark_views(report)
        show(report)
        if self.out:
            write_json_atomic(self.out, report)
            draw(report, pathlib.Path(self.out).with_suffix(".png"))
        return 0

    def _measured(self) -> dict[str, Any]:
        from gailfe_jax.bench import fidelity, peers, scaling
        from gailfe_jax.bench import profile as breakdown
        from gailfe_jax.bench import speed as bench

        repeats = (3 if self.what in ("scaling", "fidelity") else 5) if self.repeats is None else self.repeats
        if self.what == "physics":
            envs = self.env or ("halfcheetah", "hopper")
            return bench.bench_physics(envs, engine=self.engine, num_envs=self.num_envs, repeats=repeats)
        if self.what == "train":
            return bench.bench_train(
                self.env or ("halfcheetah",), algos=self.algo or ("gail", "gailfe"), engine=self.engine, repeats=repeats
            )
        if self.what == "horizon":
            return bench.bench_horizon(self.env or ("hopper",), repeats=repeats)
        if self.what == "fidelity":
            engine = "mjx" if self.engine == "auto" else self.engine
            return fidelity.bench_fidelity(self.env or ("halfcheetah", "hopper"), engine=engine, repeats=repeats)
        if self.what == "peers" and self.learning:
            return peers.bench_learning(self.env or ("hopper",), seeds=self._seeds(1), time_limit=self.time_limit)
        if self.what == "peers":
            return peers.bench_peers(self.env or ("halfcheetah",), repeats=repeats)
        env = _only("env", self.env, "halfcheetah")
        if self.what == "profile":
            return breakdown.bench_profile(
                env, algo=_only("algo", self.algo, "gail"), engine=self.engine, repeats=repeats
            )
        if self.what == "sweep":
            return scaling.bench_sweep(
                env, algo=_only("algo", self.algo, "gail"), engine=self.engine, seeds=self._seeds(8), repeats=repeats
            )
        return scaling.bench_scaling(self.axis, env, engine=self.engine, values=self.values, repeats=repeats)

    def _seeds(self, default: int) -> int:
        return default if self.seeds is None else self.seeds


def benchmark_views(report: dict[str, Any]) -> tuple[Callable[..., None], Callable[..., None]]:
    """`show(report)` and `draw(report, path)` for a report of `gailfe bench`.

    Raises:
      KeyError: it is none.
    """
    from gailfe_jax.bench import fidelity, peers, scaling
    from gailfe_jax.bench import profile as breakdown
    from gailfe_jax.bench import speed as bench

    return {
        "physics": (bench.print_report, bench.draw_report),
        "train": (bench.print_report, bench.draw_report),
        "horizon": (bench.print_horizon, bench.draw_horizon),
        "fidelity": (fidelity.print_fidelity, fidelity.draw_fidelity),
        "peers": (peers.print_peers, peers.draw_peers),
        "peers_learning": (peers.print_learning, peers.draw_learning),
        "profile": (breakdown.print_profile, breakdown.draw_profile),
        "sweep": (scaling.print_sweep, scaling.draw_sweep),
        "scaling": (scaling.print_scaling, scaling.draw_scaling),
    }[report["what"]]


def _only(name: str, values: tuple[str, ...], default: str) -> str:
    """The one value given, or the default.

    Raises:
      GailfeError: there are several.
    """
    if len(values) > 1:
        raise GailfeError(f"{name}: got {', '.join(values)}; expected one for this benchmark")
    return values[0] if values else default


def run(args: Sequence[str]) -> int:
    return parse(Bench, "bench", args)()
