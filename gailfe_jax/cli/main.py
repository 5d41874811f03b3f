"""The `gailfe` command. Bad input ends in one line and exit code 2."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.table import Table

from gailfe_jax.config.flat import Config, Hyper
from gailfe_jax.errors import GailfeError, one_line, refusal
from gailfe_jax.training.loop import DemoSettings, RunSettings

_Flat = tyro.conf.OmitArgPrefixes
_Positional = tyro.conf.Positional
_Path = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PATH")]


@dataclasses.dataclass(frozen=True)
class Train:
    """Train a policy: imitation from demonstrations (and failures), or PPO / TRPO on the true reward.

    Writes metrics.jsonl, TensorBoard events, config.json, checkpoints, policies, learning_curve.png and summary.json
    into --out. Ctrl-C ends the running chunk, saves and stops; --resume goes on bit for bit.
    """

    out: str
    """Run folder."""
    resume: bool = False
    """Continue the run in --out from its newest checkpoint, with the settings it was started with."""
    distributed: tuple[str, ...] | None = None
    """Share the run between processes, on one host or several, that are all started with this command: HOST:PORT of
    the first, how many there are, and which one this is, from 0; no words on Slurm, Open MPI and TPU pods."""
    run: _Flat[RunSettings] = dataclasses.field(default_factory=RunSettings)
    demonstrations: _Flat[DemoSettings] = dataclasses.field(default_factory=DemoSettings)
    config: _Flat[Config] = dataclasses.field(default_factory=Config)
    hyper: _Flat[Hyper] = dataclasses.field(default_factory=Hyper)

    def __call__(self) -> int:
        from gailfe_jax.parallel import distributed as hosts
        from gailfe_jax.training.loop import train

        with hosts.connected(self.distributed):
            result = train(
                self.config, self.hyper, self.run, out=self.out, demos=self.demonstrations, resume=self.resume
            )  # fmt: skip
        if result.interrupted and result.run_dir is not None:
            print(f"interrupted; continue with: gailfe train --out {self.out} --resume", file=sys.stderr)
        return 130 if result.interrupted else 0


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Train many settings with the same seeds, side by side where one program can, and compare them.

    Settings come from one of --grid, --random and --settings; each starts from its method's preset on its task and the
    flags below, as gailfe train does. Any field of these flags can vary, except how a run is carried out. Writes one
    tidy table (sweep.csv, sweep.jsonl), summary.csv, summary.md, final.png, curves.png, and settings/<number>/ as
    gailfe train would.
    """

    out: str
    """Sweep folder."""
    grid: tuple[str, ...] = ()
    """Every combination: disc_lr=1e-4,3e-4 hidden=64x64,256x256 algo=gail,gailfe gradient_penalty=true,false."""
    random: tuple[str, ...] = ()
    """Draws: disc_lr=log:1e-5:1e-3 gamma=uniform:0.98:0.999 algo=choice:gail:mail."""
    samples: int = 16
    """How many draws."""
    sweep_seed: int = 0
    """Of the draws."""
    settings: str | None = None
    """File of settings: .csv (names first) or .jsonl, one setting per row."""
    optuna: int | None = None
    """Choose so many settings from the distributions of --random as it goes, by Optuna's TPE (extra: sweep)."""
    parallel: int = 8
    """Optuna: settings per round, trained side by side."""
    baseline: int | None = None
    """Number of the setting that others are compared with; the best of each task by default."""
    memory_gib: float | None = None
    """Memory to stay within; what is free by default. What does not fit is trained in parts."""
    parquet: bool = False
    """Write sweep.parquet too (needs pyarrow)."""
    cluster: Literal["local", "slurm"] | None = None
    """Train each program in a job of its own, and wait for all (extra: cluster); local starts them all here."""
    cluster_options: tuple[str, ...] = ()
    """What the jobs ask for, as submitit names it: timeout_min=600 gpus_per_node=1 slurm_partition=gpu."""
    resume: bool = False
    """Continue the sweep in --out, with its own flags; no finished setting is trained again."""
    run: _Flat[RunSettings] = dataclasses.field(default_factory=RunSettings)
    demonstrations: _Flat[DemoSettings] = dataclasses.field(default_factory=DemoSettings)
    config: _Flat[Config] = dataclasses.field(default_factory=Config)
    hyper: _Flat[Hyper] = dataclasses.field(default_factory=Hyper)
    words: tyro.conf.Suppress[tyro.conf.Fixed[tuple[str, ...]]] = ()

    def __call__(self) -> int:
        from gailfe_jax.sweep import space as search
        from gailfe_jax.sweep import study as sweep

        chosen = [name for name in ("grid", "random", "settings") if getattr(self, name)]
        if len(chosen) != 1:
            got = " and ".join(chosen) or "none of them"
            raise GailfeError(f"grid, random, settings: got {got}; expected one of the three")
        if self.optuna is not None and chosen != ["random"]:
            raise GailfeError(f"optuna: got --{chosen[0]}; expected distributions from --random")
        if self.optuna is not None and self.cluster is not None:
            raise GailfeError("cluster: --optuna asks for its next settings here; expected one of the two")
        options: dict[str, Any] = {
            "out": self.out, "resume": self.resume, "memory_gib": self.memory_gib, "baseline": self.baseline,
            "parquet": self.parquet, "words": self.words,
        }  # fmt: skip
        if self.optuna is not None:
            space = search.distributions(self.random)
            result = sweep.search(
                space, self._base, trials=self.optuna, parallel=self.parallel, seed=self.sweep_seed, **options
            )
        else:
            if self.settings:
                rows = search.from_file(self.settings)
            elif self.grid:
                rows = search.grid(self.grid)
            else:
                rows = search.random(self.random, self.samples, self.sweep_seed)
            jobs = {"cluster": self.cluster, "cluster_options": self.cluster_options}
            result = sweep.sweep(search.build(rows, self._base), **options, **jobs)
        if result.interrupted:
            print(f"interrupted; continue with: gailfe sweep --out {self.out} --resume", file=sys.stderr)
            return 130
        return 0

    def _base(self, algo: str | None, env: str | None) -> Any:
        """What these flags make of the presets of another method or task."""
        from gailfe_jax.sweep.space import Base

        swept = {name: value for name, value in (("--algo", algo), ("--env", env)) if value is not None}
        parsed = self
        if swept:
            words = [*self.words, *(word for pair in swept.items() for word in pair)]
            parsed = _parse(Sweep, prog="gailfe sweep", args=words, default=_defaults("sweep", words))
        return Base(parsed.config, parsed.hyper, parsed.run, parsed.demonstrations)


@dataclasses.dataclass(frozen=True)
class Expert:
    """Train an expert with PPO on the true reward and write the best policy, judged in Gymnasium."""

    out: str
    """Policy file to write (.safetensors); a report is written beside it (.json)."""
    run_dir: str | None = None
    """Folder of the PPO run; runs/expert-<env> by default."""
    episodes: int = 50
    """Fresh Gymnasium episodes behind the reported return."""
    resume: bool = False
    """Continue an interrupted run."""
    run: _Flat[RunSettings] = dataclasses.field(default_factory=RunSettings)
    config: _Flat[Config] = dataclasses.field(default_factory=Config)
    hyper: _Flat[Hyper] = dataclasses.field(default_factory=Hyper)

    def __call__(self) -> int:
        from gailfe_jax.apps.expert import train_expert
        from gailfe_jax.envs import make_env
        from gailfe_jax.io.atomic import write_json_atomic

        spec = make_env(self.config.env, self.config.engine, **self.config.engine_options).spec
        if spec.gymnasium_id is None:
            raise GailfeError(f"env: {spec.name} has no Gymnasium environment to judge an expert in; use gailfe train")
        report = train_expert(
            self.config, self.hyper, self.run, gymnasium_id=spec.gymnasium_id,
            run_dir=self.run_dir or f"runs/expert-{spec.name}", out=self.out, episodes=self.episodes,
            resume=self.resume,
        )  # fmt: skip
        write_json_atomic(pathlib.Path(self.out).with_suffix(".json"), report)
        print(f"{self.out}: {report['mean']:.0f} ± {report['std']:.0f} over {self.episodes} Gymnasium episodes")
        return 0


@dataclasses.dataclass(frozen=True)
class DemosCommand:
    """Roll an expert out: whole trajectories, and failed attempts labelled by an annotator, in one file."""

    out: str
    """Demonstration file to write (.npz or .h5)."""
    env: str = "hopper"
    """Task."""
    trajectories: int = 30
    """Expert trajectories."""
    failures: int = 0
    """Failed attempts."""
    expert: str | None = None
    """Policy file of the expert; the one shipped for the task by default."""
    deterministic: bool = False
    """Show the expert's mean action instead of samples."""
    annotator: str = "default"
    """What counts as failed: terminated, return_below:F, flipped, bottom_quantile:Q, or default for the task."""
    noise: float = 0.5
    """Standard deviation of the noise on the expert's actions in failed attempts."""
    snapshots: tuple[str, ...] = ()
    """Policy files whose attempts may fail, e.g. early snapshots of an expert's run, instead of a noised expert."""
    seed: int = 0
    """Of initial states and noise."""
    engine: str = "auto"
    """Physics engine."""

    def __call__(self) -> int:
        from gailfe_jax.artifacts.policy import Policy, load_expert
        from gailfe_jax.data.collection import collect_demonstrations
        from gailfe_jax.envs import make_env
        from gailfe_jax.io.provenance import command_line

        if not self.out.lower().endswith((".npz", ".h5", ".hdf5")):
            raise GailfeError(f"out: got {self.out!r}; expected a file name that ends in .npz or .h5")
        env = make_env(self.env, self.engine)
        expert = load_expert(env.spec.name) if self.expert is None else Policy.load(self.expert)
        demos = collect_demonstrations(
            env,
            expert,
            trajectories=self.trajectories,
            failures=self.failures,
            seed=self.seed,
            deterministic=self.deterministic,
            noise=self.noise,
            annotator=self.annotator,
            snapshots=[Policy.load(path) for path in self.snapshots],
            expert_name=self.expert or f"shipped expert for {env.spec.name}",
            expert_file=self.expert,
            command=command_line(sys.argv),
        )
        pathlib.Path(self.out).parent.mkdir(parents=True, exist_ok=True)
        demos.save(self.out)
        table = Table("part", "trajectories", "steps", "mean return", "min", "max")
        for name, part in (("expert", demos.expert), ("failures", demos.failures)):
            r = part.returns
            figures = [f"{r.mean():.0f}", f"{r.min():.0f}", f"{r.max():.0f}"] if len(r) else ["-"] * 3
            table.add_row(name, str(part.num_trajectories), f"{part.num_transitions:,}", *figures)
        Console().print(table)
        if self.failures:
            print(f"failures: {demos.provenance['failure_source']}, annotator {demos.provenance['annotator']}")
        print(f"wrote {self.out}")
        return 0


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Evaluate a run's policies, deterministic, on fresh episodes."""

    path: _Path
    """Run folder, or one policy file (.safetensors)."""
    episodes: int = 50
    """Episodes per seed."""
    backend: Literal["gymnasium", "engine"] = "gymnasium"
    """Gymnasium itself, or this package's own engine (bit-identical on the CPU, faster)."""
    env: str | None = None
    """Task; the one the policy was trained on by default."""
    expert_return: float | None = None
    """Normalise by this return; by the one the run knows, or the shipped expert's, by default."""
    seed: int = 0
    """Of the episodes."""
    json: bool = False
    """Print JSON instead of a table."""
    out: str | None = None
    """Write the JSON here too; <run>/evaluation.json by default for a run folder."""

    def __call__(self) -> int:
        from gailfe_jax.apps.evaluate_run import evaluate_path
        from gailfe_jax.io.atomic import write_json_atomic

        report = evaluate_path(
            self.path, episodes=self.episodes, backend=self.backend, env=self.env, expert_return=self.expert_return,
            seed=self.seed,
        )  # fmt: skip
        out = self.out
        if out is None and pathlib.Path(self.path).is_dir():
            out = str(pathlib.Path(self.path) / "evaluation.json")
        if out is not None:
            write_json_atomic(out, report)
        if self.json:
            print(json.dumps(report, indent=1))
            return 0
        table = Table(
            "seed", "return", "std", "length", "of expert", title=f"{report['env']}, {self.episodes} episodes"
        )
        for row in report["seeds"]:
            share = "-" if row["expert_normalised"] is None else f"{row['expert_normalised']:.2f}"
            cells = (f"{row['mean']:.0f}", f"{row['std']:.0f}", f"{row['length']:.0f}", share)
            table.add_row(str(row["seed"]), *cells)
        Console().print(table)
        if len(report["seeds"]) > 1:
            low, high = report["interval"]
            print(f"IQM over seeds {report['iqm']:.0f}, 95% bootstrap interval [{low:.0f}, {high:.0f}]")
        return 0


@dataclasses.dataclass(frozen=True)
class Video:
    """Film a run's policy (MP4, no screen needed)."""

    path: _Path
    """Run folder, or one policy file (.safetensors)."""
    out: str | None = None
    """File to write; <run>/video.mp4 by default."""
    seed_index: int = 0
    """Which of the run's seeds."""
    episodes: int = 1
    """Episodes to film."""
    seed: int = 0
    """Of the initial state."""
    max_steps: int = 1000
    """Most steps per episode."""

    def __call__(self) -> int:
        from gailfe_jax.analysis.video import record_video
        from gailfe_jax.apps.evaluate_run import policies_of

        policies, spec = policies_of(self.path)
        if spec.gymnasium_id is None:
            raise GailfeError(f"{self.path}: {spec.name} has no Gymnasium environment to film")
        if not 0 <= self.seed_index < len(policies):
            raise GailfeError(f"seed_index: got {self.seed_index}; expected 0 to {len(policies) - 1}")
        path = pathlib.Path(self.path)
        out = self.out or str(path / "video.mp4" if path.is_dir() else path.with_suffix(".mp4"))
        record_video(
            policies[self.seed_index], spec.gymnasium_id, out, episodes=self.episodes, seed=self.seed,
            max_steps=self.max_steps,
        )  # fmt: skip
        print(f"wrote {out}")
        return 0


@dataclasses.dataclass(frozen=True)
class ConfidenceOf:
    """Calibrate an imitation run's discriminators as a measure of confidence, and draw how reliable they are.

    Writes confidence.json and confidence.png into the run folder; `gailfe_jax.confidence` then gives the calibrated
    probability that a pair is the expert's.
    """

    path: _Path
    """Run folder."""
    demos: str
    """Demonstrations that the run was not trained on (make them with another --seed)."""
    episodes: int = 10
    """Fresh episodes of each policy; half fit, half judge."""
    seed: int = 0
    """Of these episodes."""

    def __call__(self) -> int:
        from gailfe_jax.apps.calibrate import calibrate

        report = calibrate(self.path, self.demos, episodes=self.episodes, seed=self.seed)
        table = Table("", "calibration error", "Brier score", "log loss", "accuracy", title="on unseen data, all seeds")
        for name in ("before", "after"):
            row = report[name]
            cells = (f"{row[key]:.3f}" for key in ("calibration_error", "brier_score", "log_loss", "accuracy"))
            table.add_row(name, *cells)
        Console().print(table)
        print(f"wrote {pathlib.Path(self.path) / 'confidence.png'}")
        return 0


@dataclasses.dataclass(frozen=True)
class Bench:
    """Measure speed against the bare engine, in one run; compile time apart."""

    what: _Positional[Literal["physics", "train", "sweep", "scaling", "profile", "fidelity", "horizon", "peers"]]
    """physics: the engine inside a jitted scan. train: whole training iterations. sweep: seeds in one program, alone,
    and in processes of their own. scaling: speed and memory along --axis. profile: the parts of an iteration.
    fidelity: what MJX's cheaper settings save and how far off they are. horizon: MAIL's gradient by itself. peers:
    training beside imitation's GAIL and Stable-Baselines3's PPO, which are installed under runs/ (from a checkout)."""
    env: tuple[str, ...] = ()
    """Tasks; halfcheetah and hopper for physics and fidelity, hopper for horizon and for peers with --learning,
    halfcheetah for the others by default."""
    algo: tuple[str, ...] = ()
    """Methods; gail and gailfe for train, gail for sweep and profile by default. Each axis of scaling has its own."""
    engine: str = "auto"
    """Physics engine; for fidelity auto is mjx."""
    num_envs: tuple[int, ...] = (256,)
    """Environments (physics)."""
    seeds: int | None = None
    """Seeds side by side (sweep; 8 by default), or runs of each one (peers with --learning; 1)."""
    axis: Literal["envs", "seeds", "width", "horizon", "failures"] = "envs"
    """What is varied (scaling)."""
    values: tuple[int, ...] = ()
    """Its values (scaling); the axis' own by default."""
    repeats: int | None = None
    """Timed repeats; medians are reported. 5, for scaling and fidelity 3 by default."""
    learning: bool = False
    """Peers: how long GAIL takes to 0.9 of the expert's return, instead of steps/s."""
    time_limit: float = 1200.0
    """Seconds of training after which a run counts as not reached (peers with --learning)."""
    out: str | None = None
    """Write the JSON result here, and a figure (.png) beside it."""

    def __call__(self) -> int:
        from gailfe_jax.io.atomic import write_json_atomic

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


@dataclasses.dataclass(frozen=True)
class Algorithms:
    """List the methods, and which parts go together."""

    def __call__(self) -> int:
        from gailfe_jax.methods.table import ALGORITHMS, COMBINATIONS

        table = Table("--algo", "what it does", "source", "policy step")
        for a in ALGORITHMS.values():
            table.add_row(a.name, a.summary, a.source, a.generator or f"--generator {' | '.join(a.generators)}")
        combinations = Table("combination", "what it does", "flags of gailfe train")
        for c in COMBINATIONS:
            combinations.add_row(c.name, c.summary, c.flags)
        Console().print(table, combinations)
        return 0


@dataclasses.dataclass(frozen=True)
class Quickstart:
    """The main job: shipped Hopper expert, demonstrations and failures, GAIL and GAILFE, evaluation, table, picture."""

    out: str = "quickstart"
    """Folder for everything."""
    env: str = "hopper"
    """Task."""
    seeds: int = 3
    """Seeds of each method."""
    steps: float | None = None
    """Environment steps of each seed; sized for a few minutes on two cores by default."""
    episodes: int = 20
    """Gymnasium episodes per seed in the final table."""

    def __call__(self) -> int:
        from gailfe_jax.apps.quickstart import quickstart

        quickstart(pathlib.Path(self.out), env=self.env, seeds=self.seeds, steps=self.steps, episodes=self.episodes)
        return 0


_COMMANDS: dict[str, Any] = {
    "train": Train,
    "sweep": Sweep,
    "expert": Expert,
    "demos": DemosCommand,
    "evaluate": Evaluate,
    "video": Video,
    "confidence": ConfidenceOf,
    "bench": Bench,
    "algorithms": Algorithms,
    "quickstart": Quickstart,
}


def _peek(args: Sequence[str], flag: str) -> str | None:
    """The value of `flag` in `args`, before the real parse: presets depend on it. The last one counts, as there."""
    value = None
    for i, word in enumerate(args):
        if word == flag and i + 1 < len(args):
            value = args[i + 1]
        elif word.startswith(flag + "="):
            value = word.partition("=")[2]
    return value


def _defaults(command: str, args: Sequence[str]) -> Any:
    """What the command starts from: presets, or on --resume the settings in the run folder."""
    from gailfe_jax.methods.presets import preset
    from gailfe_jax.training.loop import load_run, settings_from_run

    if command not in ("train", "sweep", "expert"):
        return None
    out = _peek(args, "--out")
    if command == "train" and "--resume" in args and out and (pathlib.Path(out) / "config.json").is_file():
        config, hyper, run, demos = settings_from_run(load_run(out))
        return Train(out=out, run=run, demonstrations=demos, config=config, hyper=hyper)
    env = _peek(args, "--env") or "hopper"
    algo = "ppo" if command == "expert" else _peek(args, "--algo") or Config().algo
    config, hyper, run = preset(algo, env)
    missing: Any = tyro.MISSING
    if command == "train":
        return Train(out=missing, run=run, config=config, hyper=hyper)
    if command == "sweep":
        return Sweep(out=missing, run=run, config=config, hyper=hyper, words=tuple(args))
    return Expert(out=missing, run=run, config=config, hyper=hyper)


def _resumed(args: Sequence[str]) -> list[str]:
    """The words of `gailfe sweep`; on --resume those the sweep was started with come first."""
    from gailfe_jax.sweep.study import load_sweep

    out = _peek(args, "--out")
    if "--resume" in args and out and (pathlib.Path(out) / "sweep.json").is_file():
        return [*map(str, load_sweep(out)["words"]), *args]
    return list(args)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code: 0 done, 2 bad input, 130 interrupted.

    Raises:
      SystemExit: after help (0), or words that do not parse (2).
    """
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        if not args or args[0] not in _COMMANDS:
            # Help and unknown commands: tyro lists all of them.
            union = Annotated[Train, tyro.conf.subcommand("train", prefix_name=False)]
            for name, kind in list(_COMMANDS.items())[1:]:
                union = union | Annotated[kind, tyro.conf.subcommand(name, prefix_name=False)]  # type: ignore[operator]
            tyro.cli(union, prog="gailfe", description=_DESCRIPTION, args=args or ["--help"])  # type: ignore[call-overload]
            return 0
        command = args[0]
        kind = _COMMANDS[command]
        if command == "sweep":
            args = [command, *_resumed(args[1:])]
        default = _defaults(command, args[1:])
        options = {} if default is None else {"default": default}
        return _parse(kind, prog=f"gailfe {command}", args=args[1:], **options)()
    except GailfeError as error:
        return _fail(str(error))
    except BrokenPipeError:
        # Whoever read our output (`| head`) has seen enough; Python would complain once more on closing it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _fail(refusal(error))
    except KeyboardInterrupt as error:
        if error.args:
            print(f"gailfe: {error}", file=sys.stderr)
        return 130


def _parse(kind: Any, **options: Any) -> Any:
    """`tyro.cli`, but a value out of range raises our one line instead of a box around it."""
    shown = io.StringIO()
    try:
        with contextlib.redirect_stderr(shown):
            return tyro.cli(kind, **options)
    except SystemExit as stop:
        cause: BaseException | None = stop
        while cause is not None and not isinstance(cause, GailfeError):
            cause = cause.__cause__ or cause.__context__
        if cause is not None:
            raise cause from None
        print(shown.getvalue(), end="", file=sys.stderr)
        raise


def _fail(message: str) -> int:
    print(f"gailfe: error: {one_line(message)}", file=sys.stderr)
    return 2


_DESCRIPTION = "Adversarial imitation learning in JAX, from demonstrations and from failures."


if __name__ == "__main__":
    sys.exit(main())
