"""The host loop: compiled chunks of iterations, evaluation, logs, checkpoints, and what a run folder holds.

A run folder:
    config.json           settings, demonstrations' digest, provenance
    metrics.jsonl         one line per seed and evaluation
    tensorboard/          the same as events
    checkpoints/          the whole learner state, newest few
    policies/seed_0.safetensors ...   deterministic policies for `gailfe_jax.Policy`
    learning_curve.png, summary.json
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gailfe_jax.algorithms import find_algorithm, make_learner, resolve_config
from gailfe_jax.checkpoint import CheckpointManager, check_config
from gailfe_jax.config import CONFIG_VERSION, Config, Hyper, hyper_arrays
from gailfe_jax.data.annotators import Annotator, parse_annotator
from gailfe_jax.data.demonstrations import Demonstrations, file_sha256
from gailfe_jax.envs import canonical_name, make_env
from gailfe_jax.learner import Demos, Learner, LearnerState
from gailfe_jax.logging import RunLogger, read_metrics, stack_metric, write_json_atomic
from gailfe_jax.plotting import learning_curves
from gailfe_jax.policy import Policy, mlp_weights
from gailfe_jax.provenance import provenance
from gailfe_jax.rollout import Episodes, evaluate
from gailfe_jax.types import Array, Env, GailfeError, Metrics, Pairs, PyTree


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """How a run is carried out; none of it changes what an iteration computes."""

    steps: float = 1e6
    """Environment steps of each seed, rounded up to whole evaluation intervals."""
    seeds: int = 1
    """How many seeds run side by side, vmapped."""
    first_seed: int = 0
    """The first of them; the others follow."""
    eval_every: float = 50_000
    """Steps of each seed between evaluations, rounded up to whole iterations."""
    eval_episodes: int = 8
    """Fresh episodes per evaluation and seed, deterministic policy."""
    checkpoint_seconds: float = 120.0
    """Least wall time between checkpoints; the end and an interruption always save one."""
    keep: int = 2
    """Checkpoints kept."""
    snapshots: bool = False
    """Keep every evaluation's policies under snapshots/."""
    tensorboard: bool = True
    """Write TensorBoard events."""
    wandb: bool = False
    """Log to Weights & Biases (extra: wandb)."""
    quiet: bool = False
    """Show nothing while training."""

    def __post_init__(self) -> None:
        for name in ("steps", "seeds", "eval_every", "eval_episodes", "keep"):
            if not getattr(self, name) >= 1:
                raise GailfeError(f"{name}: got {getattr(self, name)}; expected at least 1")
        if self.first_seed < 0:
            raise GailfeError(f"first_seed: got {self.first_seed}; expected 0 or more")


@dataclasses.dataclass(frozen=True)
class DemoSettings:
    """Which part of the demonstrations a learner sees."""

    demos: str | None = None
    """Demonstration file (.npz, .h5, or minari:<dataset id>)."""
    trajectories: int | None = None
    """Use so many expert trajectories; all by default."""
    subsample: int = 1
    """Keep one state-action pair in so many, with a random phase per trajectory."""
    demo_seed: int | None = None
    """Draw the trajectories at random from this seed; the first ones by default."""


@dataclasses.dataclass(frozen=True)
class Imitation:
    """Demonstrations made ready for a learner.

    Attributes:
      demos: what goes to the device; None for methods without demonstrations.
      annotator: what counts as failed, or None where nothing asks.
      expert_return: mean return of the expert, by which returns are normalised; None if unknown.
      record: what config.json says of them.
    """

    demos: Demos | None = None
    annotator: Annotator | None = None
    expert_return: float | None = None
    record: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """What a run leaves behind.

    Attributes:
      run_dir: the run's folder, or None.
      steps: environment steps of each seed.
      policies: one per seed.
      metrics: `name -> (steps [k], values [seeds, k])` over the evaluations.
      summary: what summary.json holds.
      interrupted: whether a signal ended the run early.
    """

    run_dir: pathlib.Path | None
    steps: int
    policies: list[Policy]
    metrics: dict[str, tuple[np.ndarray, np.ndarray]]
    summary: dict[str, Any]
    interrupted: bool


def load_demonstrations(path: str, env: Env) -> Demonstrations:
    """Reads demonstrations for `env` from a file, or from Minari where `path` is `minari:<dataset id>`.

    Raises:
      GailfeError: a missing, damaged or foreign file, other bounds or another environment.
    """
    expect = env.spec.gymnasium_id or env.spec.name
    low, high = np.asarray(env.spec.action_low), np.asarray(env.spec.action_high)
    if path.startswith("minari:"):
        return Demonstrations.from_minari(
            path.removeprefix("minari:"), expect_env=expect, action_low=low, action_high=high
        )
    return Demonstrations.load(path, expect_env=expect, action_low=low, action_high=high)


def prepare_imitation(
    config: Config,
    env: Env,
    settings: DemoSettings,
    demonstrations: Demonstrations | None = None,
    annotator: Annotator | None = None,
) -> Imitation:
    """Loads, cuts and subsamples demonstrations, and settles the annotator.

    Args:
      config: static settings.
      env: the environment.
      settings: which file and which part of it.
      demonstrations: use these instead of `settings.demos`.
      annotator: use this one instead of `config.annotator`.

    Raises:
      GailfeError: the algorithm needs demonstrations and there are none, or they do not fit the environment.
    """
    algorithm = find_algorithm(config.algo)
    if not algorithm.needs_demos:
        return Imitation()
    record: dict[str, Any] = dataclasses.asdict(settings)
    if demonstrations is None:
        if settings.demos is None:
            raise GailfeError(f"demos: --algo {config.algo} needs a demonstration file; make one with gailfe demos")
        demonstrations = load_demonstrations(settings.demos, env)
        if pathlib.Path(settings.demos).is_file():
            record["sha256"] = file_sha256(settings.demos)
    sizes = (demonstrations.expert.obs.shape[1], demonstrations.expert.action.shape[1])
    if sizes != (env.spec.obs_size, env.spec.action_size):
        raise GailfeError(
            f"demos: observation and action sizes are {sizes}; expected {(env.spec.obs_size, env.spec.action_size)} "
            f"for {env.spec.name}"
        )
    expert = demonstrations.expert
    if settings.trajectories is not None:
        expert = expert.take(settings.trajectories, settings.demo_seed)
    pairs = expert.subsample(settings.subsample, settings.demo_seed or 0)
    demo_return = float(np.mean(expert.returns))
    expert_return = float(demonstrations.provenance.get("expert_return") or demo_return)
    record |= {
        "expert_trajectories": expert.num_trajectories,
        "expert_pairs": len(pairs),
        "demonstrated_return": demo_return,
        "expert_return": expert_return,
        "provenance": demonstrations.provenance,
    }
    padded = None
    if algorithm.constrained:
        if annotator is None:
            annotator = parse_annotator(config.annotator, task=env.spec.name, expert_return=expert_return)
        record |= {"annotator": annotator.name, "annotator_reads_reward": annotator.reads_reward}
        failures = demonstrations.failures
        if config.failure_source != "own" and failures.num_trajectories:
            buffer = make_learner(config, env, annotator=annotator).failures
            assert buffer is not None
            padded = jax.tree.map(jnp.asarray, buffer.pad(failures))
            record["collected_failures"] = min(failures.num_trajectories, config.failure_capacity)
        elif config.failure_source == "collected":
            raise GailfeError(f"demos: failure_source=collected, but {settings.demos} holds no failures")
    demos = Demos(Pairs(jnp.asarray(pairs.obs), jnp.asarray(pairs.action)), padded)
    return Imitation(demos, annotator, expert_return, record)


class Trainer:
    """The compiled programs of one run: `init`, a chunk of iterations, and an evaluation, vmapped over seeds.

    Args:
      learner: one seed's functions.
      hyper: traced settings: scalars shared by all seeds, or `[S]` arrays.
      seeds: `[S]` seed numbers.
      chunk: iterations per call of `advance`.
      eval_episodes: episodes per evaluation and seed.

    Attributes:
      compile_seconds: what tracing and compiling `advance` took (once it has).
      traces: how often the learner's step was traced; stays 1.
    """

    def __init__(self, learner: Learner, hyper: Hyper, seeds: np.ndarray, *, chunk: int, eval_episodes: int):
        self.learner = learner
        self.hyper = hyper_arrays(hyper)
        self.seeds = jnp.asarray(seeds, jnp.uint32)
        self.chunk = chunk
        self.compile_seconds = 0.0
        self.traces = 0
        self._hyper_axes = jax.tree.map(lambda x: 0 if jnp.ndim(x) else None, self.hyper)
        self._compiled: Callable[..., tuple[PyTree, Metrics]] | None = None
        self._evaluate = jax.jit(jax.vmap(self._evaluate_one, in_axes=(0, 0, None, None)), static_argnums=(3,))
        self._episodes = eval_episodes

    def _key(self, seed: Array) -> Array:
        return jax.random.fold_in(jax.random.key(0), seed)

    def _init_all(self, seeds: Array, hyper: Hyper, demos: Demos | None) -> LearnerState:
        one = lambda seed, hyper: self.learner.init(self._key(seed), hyper, demos)  # noqa: E731
        return jax.vmap(one, in_axes=(0, self._hyper_axes))(seeds, hyper)

    def init(self, demos: Demos | None) -> LearnerState:
        """Fresh states, `[S]`."""
        return jax.jit(self._init_all)(self.seeds, self.hyper, demos)

    def template(self, demos: Demos | None) -> LearnerState:
        """Shapes and dtypes of the states, without computing them."""
        return jax.eval_shape(self._init_all, self.seeds, self.hyper, demos)

    def _advance(self, state: LearnerState, hyper: Hyper, demos: Demos | None) -> tuple[LearnerState, Metrics]:
        self.traces += 1
        step = jax.vmap(self.learner.step, in_axes=(0, self._hyper_axes, None))
        return jax.lax.scan(lambda s, _: step(s, hyper, demos), state, None, length=self.chunk)

    def advance(self, state: LearnerState, demos: Demos | None) -> tuple[LearnerState, Metrics]:
        """`chunk` iterations of every seed; `state` is donated. Metrics are `[chunk, S]`."""
        if self._compiled is None:
            start = time.perf_counter()
            # Compiled ahead of time: the program exists once, and what compiling took is known apart.
            self._compiled = jax.jit(self._advance, donate_argnums=0).lower(state, self.hyper, demos).compile()
            self.compile_seconds = time.perf_counter() - start
        return self._compiled(state, self.hyper, demos)

    def _evaluate_one(self, agent: PyTree, seed: Array, step: Array, episodes: int) -> Episodes:
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(1), seed), step)
        return evaluate(self.learner.env, self.learner.generator.mode, agent, key, episodes)

    def evaluate(self, state: LearnerState, step: int, episodes: int | None = None) -> Episodes:
        """Deterministic policies over fresh episodes, `[S, E]`; the episodes depend on seed and step only."""
        return self._evaluate(state.generator, self.seeds, jnp.uint32(step), episodes or self._episodes)


def to_policies(state: LearnerState, config: Config, env: Env, steps: int, seeds: np.ndarray) -> list[Policy]:
    """The policies of `[S]` states as NumPy objects, one per seed."""
    generator = jax.tree.map(np.asarray, (state.generator.policy, state.generator.obs_stats))
    metadata = {"env": config.env, "algo": config.algo, "generator": config.generator, "steps": str(steps)}
    policies = []
    for i, seed in enumerate(seeds):
        params, stats = jax.tree.map(lambda x, i=i: x[i], generator)
        policies.append(
            Policy(
                weights=mlp_weights(params["params"]["mean"]),
                activation=config.activation,
                obs_mean=stats.mean,
                obs_std=np.asarray(stats.std),
                log_std=params["params"]["log_std"],
                action_low=np.asarray(env.spec.action_low, np.float32),
                action_high=np.asarray(env.spec.action_high, np.float32),
                metadata=metadata | {"seed": str(int(seed))},
            )
        )
    return policies


@contextlib.contextmanager
def _deferred_signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM instead of raising, so that a chunk ends and is saved; a second one raises."""
    caught: list[int] = []

    def handler(number: int, frame: Any) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    try:
        old = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # Not in the main thread: signals are not ours to handle.
        yield caught
        return
    try:
        yield caught
    finally:
        for number, previous in old.items():
            signal.signal(number, previous)


def train(
    config: Config,
    hyper: Hyper | None = None,
    settings: RunSettings | None = None,
    *,
    out: str | pathlib.Path | None = None,
    demos: DemoSettings | None = None,
    demonstrations: Demonstrations | None = None,
    annotator: Annotator | None = None,
    resume: bool = False,
    on_evaluation: Callable[[int, dict[str, np.ndarray]], None] | None = None,
) -> TrainResult:
    """Trains `settings.seeds` seeds side by side.

    Args:
      config: static settings.
      hyper: traced settings; the defaults if None.
      settings: budget, evaluation, logs.
      out: run folder; nothing is written if None.
      demos: which demonstration file, and which part of it.
      demonstrations: demonstrations in memory, instead of a file.
      annotator: what counts as failed, instead of `config.annotator`.
      resume: continue the run in `out` from its newest checkpoint, bit for bit; start it if there is none.
      on_evaluation: called with `(step, metrics [S])` after each evaluation.

    Raises:
      GailfeError: bad settings or demonstrations, a folder that already holds a run, or one of another configuration.
    """
    config = dataclasses.replace(resolve_config(config), env=canonical_name(config.env))
    hyper, settings = hyper or Hyper(), settings or RunSettings()
    env = make_env(config.env, config.engine)
    imitation = prepare_imitation(config, env, demos or DemoSettings(), demonstrations, annotator)
    chunk = max(1, round(settings.eval_every / config.batch_size))
    chunk_steps = chunk * config.batch_size
    num_chunks = max(1, -int(-settings.steps // chunk_steps))
    total_steps = num_chunks * chunk_steps
    learner = make_learner(config, env, total_iterations=num_chunks * chunk, annotator=imitation.annotator)
    seeds = np.arange(settings.first_seed, settings.first_seed + settings.seeds)
    trainer = Trainer(learner, hyper, seeds, chunk=chunk, eval_episodes=settings.eval_episodes)

    run_dir = None if out is None else pathlib.Path(out)
    identity = _identity(config, hyper, settings, imitation)
    checkpoints = None
    if run_dir is not None:
        _open_run(run_dir, identity, resume)
        checkpoints = CheckpointManager(run_dir / "checkpoints", keep=settings.keep)
    logger = None if run_dir is None else _logger(run_dir, config, settings, total_steps, imitation, identity)
    messages = (lambda text: None) if logger is None else logger.message

    done_steps, state = 0, None
    if checkpoints is not None and resume and checkpoints.latest() is not None:
        done_steps, state = checkpoints.restore(trainer.template(imitation.demos))
        for step, why in checkpoints.skipped.items():
            messages(f"checkpoint at step {step} is damaged ({why}); using an older one")
        messages(f"resuming at step {done_steps:,}")
    if state is None:
        state = trainer.init(imitation.demos)
    if logger is not None and resume:
        logger.truncate_after(done_steps)

    history: dict[str, list[tuple[int, np.ndarray]]] = {}
    trained_seconds, eval_seconds, last_save = 0.0, 0.0, time.monotonic()
    with _deferred_signals() as caught, contextlib.closing(logger) if logger else contextlib.nullcontext():
        start_step = done_steps
        while done_steps < total_steps and not caught:
            start = time.perf_counter()
            compiled_before = trainer.compile_seconds
            state, traced = trainer.advance(state, imitation.demos)
            metrics = {name: np.asarray(value) for name, value in traced.items()}
            trained_seconds += time.perf_counter() - start - (trainer.compile_seconds - compiled_before)
            done_steps += chunk_steps
            start = time.perf_counter()
            episodes = jax.tree.map(np.asarray, trainer.evaluate(state, done_steps))
            eval_seconds += time.perf_counter() - start
            row = _summarise(metrics) | {
                "return_mean": episodes.returns.mean(axis=1),
                "return_std": episodes.returns.std(axis=1),
                "length_mean": episodes.lengths.mean(axis=1),
                "steps_per_second": np.full(len(seeds), len(seeds) * (done_steps - start_step) / trained_seconds),
            }
            for name, value in row.items():
                history.setdefault(name, []).append((done_steps, value))
            if logger is not None and run_dir is not None and checkpoints is not None:
                logger.log(done_steps, row)
                if settings.snapshots:
                    for policy in to_policies(state, config, env, done_steps, seeds):
                        name = f"step_{done_steps:09d}_seed_{policy.metadata['seed']}.safetensors"
                        policy.save(run_dir / "snapshots" / name)
                if caught or done_steps >= total_steps or time.monotonic() - last_save > settings.checkpoint_seconds:
                    checkpoints.save(done_steps, state, identity)
                    last_save = time.monotonic()
            if on_evaluation is not None:
                on_evaluation(done_steps, row)

        policies = to_policies(state, config, env, done_steps, seeds)
        curves = {name: _stack(points) for name, points in history.items()}
        summary: dict[str, Any] = {}
        if run_dir is not None:
            curves = _recorded(run_dir) or curves
            timing = {
                "compile_seconds": trainer.compile_seconds,
                "train_seconds": trained_seconds,
                "evaluation_seconds": eval_seconds,
                "steps_this_session": done_steps - start_step,
            }
            summary = _finish(run_dir, config, done_steps, total_steps, curves, imitation, timing, policies)
            messages(f"{'interrupted' if caught else 'finished'} at step {done_steps:,}; run folder: {run_dir}")
    return TrainResult(run_dir, done_steps, policies, curves, summary, bool(caught) and done_steps < total_steps)


def load_run(run_dir: str | pathlib.Path) -> dict[str, Any]:
    """`config.json` of a run folder.

    Raises:
      GailfeError: no run there, a damaged file, or one of another version.
    """
    path = pathlib.Path(run_dir) / "config.json"
    if not path.is_file():
        raise GailfeError(f"{path}: no such file; expected a run folder made by gailfe train")
    try:
        record = json.loads(path.read_text())
        version = record["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise GailfeError(f"{path}: damaged ({type(error).__name__}); expected what gailfe train wrote") from None
    if version != CONFIG_VERSION:
        raise GailfeError(f"{path}: field 'version': {version!r}; this release reads version {CONFIG_VERSION}")
    return record


def settings_from_run(record: dict[str, Any]) -> tuple[Config, Hyper, RunSettings, DemoSettings]:
    """The typed settings that `config.json` holds.

    Raises:
      GailfeError: a field that this release does not know, or a value it does not take.
    """
    parts = []
    for name, kind in (("config", Config), ("hyper", Hyper), ("settings", RunSettings), ("demos", DemoSettings)):
        known = {field.name: field for field in dataclasses.fields(kind)}
        values = dict(record.get(name, {}))
        if kind is DemoSettings:
            values = {key: value for key, value in values.items() if key in known}
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise GailfeError(f"config.json: field '{name}.{unknown[0]}' is unknown to this release")
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        parts.append(kind(**values))
    return tuple(parts)  # type: ignore[return-value]


def load_policies(run_dir: str | pathlib.Path) -> list[Policy]:
    """The policies a run left, in order of their seeds.

    Raises:
      GailfeError: there are none yet, or one is damaged.
    """
    folder = pathlib.Path(run_dir) / "policies"
    files = sorted(folder.glob("seed_*.safetensors"), key=lambda path: int(path.stem.removeprefix("seed_")))
    if not files:
        raise GailfeError(f"{folder}: no policies; expected the folder of a run that ended or was interrupted")
    return [Policy.load(path) for path in files]


def _identity(config: Config, hyper: Hyper, settings: RunSettings, imitation: Imitation) -> dict[str, Any]:
    return {
        "version": CONFIG_VERSION,
        "config": dataclasses.asdict(config),
        "hyper": {k: np.asarray(v).tolist() for k, v in dataclasses.asdict(hyper).items()},
        "settings": dataclasses.asdict(settings),
        "demos": imitation.record,
    }


# What may change when a run resumes: where and how it is shown, and how long it goes on.
_FREE_ON_RESUME = (
    *("settings.steps", "settings.checkpoint_seconds", "settings.keep", "settings.snapshots"),
    *("settings.tensorboard", "settings.wandb", "settings.quiet", "demos.demos"),
)


def _open_run(run_dir: pathlib.Path, identity: dict[str, Any], resume: bool) -> None:
    path = run_dir / "config.json"
    if path.exists() and not resume:
        raise GailfeError(f"{run_dir}: already holds a run; add --resume to continue it, or choose another --out")
    if path.exists():
        saved = load_run(run_dir)
        free = list(_FREE_ON_RESUME)
        if saved["config"].get("anneal"):
            free.remove("settings.steps")  # The schedule depends on the length of the run.
        check_config({k: saved[k] for k in identity}, identity, ignore=free)
    elif run_dir.exists() and any(run_dir.iterdir()):
        raise GailfeError(f"{run_dir}: exists and holds no run; choose another --out")
    run_dir.mkdir(parents=True, exist_ok=True)
    write_json_atomic(path, identity | {"provenance": provenance()})


def _logger(
    run_dir: pathlib.Path,
    config: Config,
    settings: RunSettings,
    total_steps: int,
    imitation: Imitation,
    identity: dict[str, Any],
) -> RunLogger:
    return RunLogger(
        run_dir,
        num_seeds=settings.seeds,
        total_steps=total_steps,
        title=f"{config.algo} ({config.generator}) on {config.env}, {settings.seeds} seed(s)",
        use_tensorboard=settings.tensorboard,
        use_wandb=settings.wandb,
        quiet=settings.quiet,
        expert_return=imitation.expert_return,
        run_config=identity,
    )


def _summarise(metrics: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Means over a chunk, `[chunk, S] -> [S]`; counts at its end; episode means weighted by episodes."""
    last = {"multiplier", "failures_in_buffer", "failure_transitions", "entropy"}
    weights = metrics["episodes"]
    total = weights.sum(axis=0)
    row = {}
    for name, value in metrics.items():
        if name in last:
            row[name] = value[-1]
        elif name == "episodes":
            row[name] = total
        elif name.startswith("train_"):
            sums = np.where(weights > 0, value * weights, 0.0).sum(axis=0)
            row[name] = np.divide(sums, total, out=np.full(total.shape, np.nan), where=total > 0)
        else:
            row[name] = value.mean(axis=0)
    return row


def _stack(points: list[tuple[int, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([step for step, _ in points]), np.stack([value for _, value in points], axis=1)


def _recorded(run_dir: pathlib.Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    records = read_metrics(run_dir / "metrics.jsonl") if (run_dir / "metrics.jsonl").exists() else []
    names = [name for name in (records[0] if records else {}) if name not in ("seed", "step")]
    return {name: stack_metric(records, name) for name in names}


def _finish(
    run_dir: pathlib.Path,
    config: Config,
    done_steps: int,
    total_steps: int,
    curves: dict[str, tuple[np.ndarray, np.ndarray]],
    imitation: Imitation,
    timing: dict[str, float],
    policies: list[Policy],
) -> dict[str, Any]:
    for policy in policies:
        policy.save(run_dir / "policies" / f"seed_{policy.metadata['seed']}.safetensors")
    summary: dict[str, Any] = {
        "algo": config.algo,
        "env": config.env,
        "steps": done_steps,
        "finished": done_steps >= total_steps,
        "expert_return": imitation.expert_return,
        "annotator": imitation.record.get("annotator"),
        **timing,
        "provenance": provenance(),
    }
    if timing["train_seconds"] > 0:
        summary["steps_per_second"] = timing["steps_this_session"] * len(policies) / timing["train_seconds"]
    if "return_mean" in curves:
        steps, returns = curves["return_mean"]
        summary["final"] = {name: values[:, -1].tolist() for name, (_, values) in curves.items()}
        learning_curves(
            {config.algo: (steps, returns)},
            run_dir / "learning_curve.png",
            title=f"{config.algo} on {config.env}",
            expert_return=imitation.expert_return,
            ylabel="return of the deterministic policy",
            per_seed=True,
        )
    write_json_atomic(run_dir / "summary.json", summary)
    return summary
