"""The host loop: compiled chunks of iterations, evaluation, logs, checkpoints, and what a run folder holds.

A run folder:
    config.json           settings, demonstrations' digest, provenance
    metrics.jsonl         one line per seed and evaluation
    tensorboard/          the same as events
    checkpoints/          the whole learner state, newest few
    policies/seed_0.safetensors ...   deterministic policies for `gailfe_jax.Policy`
  discriminators/seed_0.safetensors ...   imitation: for `gailfe_jax.confidence`
    learning_curve.png, summary.json
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import importlib.util
import json
import math
import pathlib
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gailfe_jax.analysis.plots import learning_curves
from gailfe_jax.artifacts.confidence import FOLDER, Confidence
from gailfe_jax.artifacts.numpy_mlp import mlp_weights
from gailfe_jax.artifacts.oracle import Oracle
from gailfe_jax.artifacts.policy import Policy, check_policy, expert_names, load_expert
from gailfe_jax.config.flat import CONFIG_VERSION, Config, Hyper, hyper_arrays
from gailfe_jax.data.annotators import Annotator, parse_annotator, parse_success
from gailfe_jax.data.formats import load_demonstrations
from gailfe_jax.data.trajectories import Demonstrations
from gailfe_jax.envs import base_name, canonical_name, make_env
from gailfe_jax.envs.rollout import Episodes, evaluate
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.atomic import write_json_atomic
from gailfe_jax.io.digests import file_sha256
from gailfe_jax.io.provenance import provenance
from gailfe_jax.learners.adversarial import Demos, Learner, LearnerState
from gailfe_jax.learners.cloning import CloningState
from gailfe_jax.methods.table import AnyLearner, asks_expert, find_algorithm, make_learner, needs_demos, resolve_config
from gailfe_jax.parallel import distributed as hosts
from gailfe_jax.parallel.memory import free_bytes, program_bytes
from gailfe_jax.parallel.seeds import ENVS, SEEDS
from gailfe_jax.rewards.discriminator import DiscriminatorState
from gailfe_jax.training.checkpoint import CheckpointManager, check_config
from gailfe_jax.training.logger import RunLogger, read_metrics, stack_metric
from gailfe_jax.types import Array, Env, Metrics, PyTree, StateAction

_SEEDS = 2**32  # Keys are folded with 32 bits: beyond them seeds would repeat.


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """How a run is carried out; none of it changes what an iteration computes."""

    steps: float = 1e6
    """Environment steps of each seed (bc, which takes none: demonstrated pairs fitted), rounded up to whole evaluation
    intervals."""
    seeds: int = 1
    """How many seeds run side by side, vmapped."""
    first_seed: int = 0
    """The first of them; the others follow."""
    eval_every: float = 50_000
    """Steps of each seed between evaluations, rounded to whole iterations."""
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
    devices: int = 0
    """Share the work between so many devices (of all processes), seeds first and then each seed's environments; 0 for
    all that fit."""

    def __post_init__(self) -> None:
        for name in ("steps", "eval_every", "checkpoint_seconds"):
            # One JSON spelling, whichever of int and float the caller wrote.
            object.__setattr__(self, name, float(getattr(self, name)))
        for name in ("steps", "seeds", "eval_every", "eval_episodes", "keep"):
            if not 1 <= getattr(self, name) < math.inf:
                raise GailfeError(f"{name}: got {getattr(self, name)}; expected a number from 1")
        if self.devices < 0:
            raise GailfeError(f"devices: got {self.devices}; expected 0 (all that fit) or more")
        if not self.checkpoint_seconds >= 0:
            raise GailfeError(f"checkpoint_seconds: got {self.checkpoint_seconds}; expected 0 or more")
        if not 0 <= self.first_seed <= _SEEDS - self.seeds:
            raise GailfeError(f"first_seed: got {self.first_seed}; expected seeds from 0 to {_SEEDS - 1}")


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
    expert: str | None = None
    """DAgger: policy file (.safetensors) of the expert that is asked; the one shipped for the task by default."""

    def __post_init__(self) -> None:
        for name, least in (("trajectories", 1), ("subsample", 1), ("demo_seed", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise GailfeError(f"{name}: got {value}; expected {least} or more")


@dataclasses.dataclass(frozen=True)
class Imitation:
    """Demonstrations, or the expert that is asked, made ready for a learner.

    Attributes:
      demos: what goes to the device; None for methods without demonstrations.
      annotator: what counts as failed, or None where nothing asks.
      success: what of its own counts as a success, or None where nothing asks.
      expert_return: mean return of the expert, by which returns are normalised; None if unknown.
      record: what config.json says of them.
    """

    demos: Demos | None = None
    annotator: Annotator | None = None
    success: Annotator | None = None
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
    if asks_expert(config):
        return _prepare_expert(config, settings)
    if not needs_demos(config):
        judges = _annotators(config, env, None, annotator)
        return Imitation(annotator=judges[0], success=judges[1], record=_judged(*judges))
    record: dict[str, Any] = dataclasses.asdict(settings)
    if demonstrations is None:
        if settings.demos is None:
            why = (
                f"--algo {config.algo}"
                if algorithm.imitates and config.positives != "own"
                else "bc_steps or bc_auxiliary"
            )
            raise GailfeError(f"demos: {why} needs a demonstration file; make one with gailfe demos")
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
    recorded = demonstrations.provenance.get("expert_return")
    known = isinstance(recorded, int | float) and math.isfinite(recorded)
    expert_return = float(recorded) if known else demo_return  # type: ignore[arg-type]
    content = hashlib.sha256(pairs.obs.tobytes() + pairs.action.tobytes())
    record |= {
        "expert_trajectories": expert.num_trajectories,
        "expert_pairs": len(pairs),
        "demonstrated_return": demo_return,
        "expert_return": expert_return,
        "provenance": demonstrations.provenance,
    }
    padded = None
    annotator, success = _annotators(config, env, expert_return, annotator)
    record |= _judged(annotator, success)
    if annotator is not None:
        failures = demonstrations.failures
        if config.failure_source != "own" and failures.num_trajectories:
            learner = make_learner(config, env, annotator=annotator)
            assert isinstance(learner, Learner) and learner.failures is not None
            padded = learner.failures.pad(failures)
            content.update(np.asarray(padded.data).tobytes() + np.asarray(padded.lengths).tobytes())
            padded = jax.tree.map(jnp.asarray, padded)
            record["collected_failures"] = min(failures.num_trajectories, config.failure_capacity)
        elif config.failure_source == "collected":
            raise GailfeError(f"demos: failure_source=collected, but {settings.demos or 'they'} have no failures")
    obs, action, next_obs = (jnp.asarray(x) for x in (pairs.obs, pairs.action, pairs.next_obs))
    demos = Demos(StateAction(obs, action), padded, next_obs)
    if algorithm.clones:
        # Which pairs belong together decides what is held out.
        trajectory = pairs.trajectory.astype(np.int32)
        content.update(trajectory.tobytes())
        demos = demos.replace(trajectory=jnp.asarray(trajectory))
    record["content_sha256"] = content.hexdigest()
    return Imitation(demos, annotator, success, expert_return, record)


def _prepare_expert(config: Config, settings: DemoSettings) -> Imitation:
    """The expert's policy for methods that ask it.

    Raises:
      GailfeError: no such file, a damaged one, one for another task, or none is shipped for this one.
    """
    spec = make_env(base_name(config.env), config.engine).spec
    if settings.expert is None and spec.name not in expert_names():
        raise GailfeError(
            f"expert: --algo {config.algo} asks an expert's policy and none is shipped for {spec.name}; expected a "
            "policy file (.safetensors)"
        )
    policy = load_expert(spec.name) if settings.expert is None else Policy.load(settings.expert)
    check_policy("expert", policy, spec)
    content = hashlib.sha256(policy.activation.encode())
    for array in (*(x for layer in policy.weights for x in layer), policy.obs_mean, policy.obs_std):
        content.update(array.tobytes())
    try:
        expert_return = float(policy.metadata["expert_return"])
    except (KeyError, ValueError):
        expert_return = math.nan
    known = expert_return if math.isfinite(expert_return) else None
    record = {"expert": settings.expert, "expert_return": known, "content_sha256": content.hexdigest()}
    return Imitation(Demos(None, oracle=Oracle.of(policy)), expert_return=known, record=record)


def _annotators(
    config: Config, env: Env, expert_return: float | None, annotator: Annotator | None
) -> tuple[Annotator | None, Annotator | None]:
    """What counts as a failure and what as a success, None where nothing asks."""
    if not find_algorithm(config.algo).fails:
        annotator = None
    elif annotator is None:
        annotator = parse_annotator(config.annotator, task=env.spec.name, expert_return=expert_return)
    asked = config.positives != "demonstrations" and config.own_episodes != "best"
    return annotator, parse_success(config.own_episodes, expert_return=expert_return) if asked else None


def _judged(annotator: Annotator | None, success: Annotator | None) -> dict[str, Any]:
    """What config.json says of the annotators."""
    record: dict[str, Any] = {}
    if annotator is not None:
        record |= {"annotator": annotator.name, "annotator_reads_reward": annotator.reads_reward}
    if success is not None:
        record |= {"success": success.name, "success_reads_reward": success.reads_reward}
    return record


def mesh_shape(devices: int, seeds: int, num_envs: int, available: int, processes: int = 1) -> tuple[int, int]:
    """`(seed shards, environment shards)`: as many of the first as divide both seeds and devices.

    Args:
      devices: how many to use; 0 for as many as fit.
      seeds: `S`, side by side.
      num_envs: environments of each seed, which the environment shards must divide.
      available: how many devices there are.
      processes: which have as many of them each, and all take part.

    Raises:
      GailfeError: there are not so many devices, or they do not divide the environments.
    """
    shared = range(processes, available + 1, processes)
    fitting = [n for n in shared if num_envs % (n // math.gcd(seeds, n)) == 0]
    place = "a machine" if processes == 1 else f"{processes} processes"
    if not fitting or (devices and devices not in fitting):
        raise GailfeError(
            f"devices: got {devices} for {seeds} seed(s) of {num_envs} environments; expected 0 (all that fit) or one "
            f"of {', '.join(map(str, fitting)) or 'none'} on {place} with {available}"
        )
    count = devices or max(fitting)
    shards = math.gcd(seeds, count)
    return shards, count // shards


def _is_key(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


class Trainer:
    """The compiled programs of one run: `init`, a chunk of iterations, and an evaluation, vmapped over seeds.

    On several devices each program is sharded over a mesh: seeds are trained apart, and the devices that share a seed
    step their part of its environments and average their gradients (see `gailfe_jax.parallel.seeds`). What is computed
    is the same to rounding for any number of devices, and what comes out has the same shapes.

    Of several processes (see `gailfe_jax.parallel.distributed`) each makes the same trainer and calls the same methods
    in the same order. What comes out is then spread over all of them; `whole` fetches it.

    Args:
      learner: one seed's functions.
      hyper: traced settings: scalars shared by all seeds, or `[S]` arrays.
      seeds: `[S]` seed numbers.
      chunk: iterations per call of `advance`.
      eval_episodes: episodes per evaluation and seed.
      devices: how many to use, 0 for all that fit.

    Attributes:
      mesh: of devices, None for one.
      compile_seconds: what tracing and compiling `advance` took (once it has).
      traces: how often the learner's step was traced; stays 1.

    Raises:
      GailfeError: a traced setting that is not finite, or neither one number nor one per seed; or see `mesh_shape`.
    """

    def __init__(
        self,
        learner: AnyLearner,
        hyper: Hyper,
        seeds: np.ndarray,
        *,
        chunk: int,
        eval_episodes: int,
        devices: int = 1,
    ):
        self.learner = learner
        self.hyper = hyper_arrays(hyper)
        self.seeds = jnp.asarray(seeds, jnp.uint32)
        for name, value in dataclasses.asdict(self.hyper).items():
            if value.shape not in ((), self.seeds.shape):
                raise GailfeError(f"{name}: got shape {value.shape}; expected one number or {len(self.seeds)} of them")
        self.chunk = chunk
        self.compile_seconds = 0.0
        self.traces = 0
        self._hyper_axes = jax.tree.map(lambda x: 0 if jnp.ndim(x) else None, self.hyper)
        self._compiled: Callable[..., tuple[PyTree, Metrics]] | None = None
        here, processes = jax.devices(), jax.process_count()
        shape = mesh_shape(devices, len(self.seeds), learner.config.num_envs, len(here), processes)
        # As many of each process, and side by side: what shares a seed is then on one host if it can be.
        here = sorted(here, key=lambda device: device.process_index)
        chosen = np.array(here).reshape(processes, -1)[:, : math.prod(shape) // processes]
        # One device needs no mesh, and gets the program that it always got.
        self.mesh = None if chosen.size == 1 else Mesh(chosen.reshape(shape), (SEEDS, ENVS))
        self._several = processes > 1
        if self._several:
            places = self._shardings((PartitionSpec(SEEDS), self._hyper_specs))
            self.seeds, self.hyper = jax.device_put((self.seeds, self.hyper), places)
            self._gather = jax.jit(lambda tree: tree, out_shardings=self._shardings(PartitionSpec()))
        self._evaluations: dict[int, Callable[..., Episodes]] = {}
        self._episodes = eval_episodes
        self._shared: tuple[Demos | None, Demos | None] = (None, None)

    def _jit(self, fn: Callable[..., Any], in_specs: PyTree, out_specs: PyTree, **options: Any) -> Any:
        """`jax.jit`, sharded over the mesh where there is one."""
        if self.mesh is None:
            return jax.jit(fn, **options)
        # Host callbacks and loops cannot be partitioned automatically: every device runs the program on its shard.
        fn = jax.shard_map(fn, mesh=self.mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)
        return jax.jit(fn, in_shardings=self._shardings(in_specs), out_shardings=self._shardings(out_specs), **options)

    def _shardings(self, specs: PyTree) -> PyTree:
        assert self.mesh is not None
        mesh = self.mesh
        place = lambda spec: NamedSharding(mesh, spec)  # noqa: E731
        return jax.tree.map(place, specs, is_leaf=lambda x: isinstance(x, PartitionSpec))

    def _state_specs(self, state: LearnerState) -> LearnerState:
        specs = jax.tree.map(lambda _: PartitionSpec(SEEDS), state)
        return specs.replace(env=jax.tree.map(lambda _: PartitionSpec(SEEDS, ENVS), state.env))

    @property
    def _hyper_specs(self) -> Hyper:
        return jax.tree.map(lambda x: PartitionSpec(SEEDS) if jnp.ndim(x) else PartitionSpec(), self.hyper)

    def _share(self, demos: Demos | None) -> Demos | None:
        """`demos` on every device, copied there once."""
        if self.mesh is None or demos is None:
            return demos
        if self._shared[0] is not demos:
            self._shared = demos, jax.device_put(demos, NamedSharding(self.mesh, PartitionSpec()))
        return self._shared[1]

    def _key(self, seed: Array) -> Array:
        return jax.random.fold_in(jax.random.key(0), seed)

    def _init_all(self, seeds: Array, hyper: Hyper, demos: Demos | None) -> LearnerState:
        one = lambda seed, hyper: self.learner.init(self._key(seed), hyper, demos)  # noqa: E731
        return jax.vmap(one, in_axes=(0, self._hyper_axes))(seeds, hyper)

    def init(self, demos: Demos | None) -> LearnerState:
        """Fresh states, `[S]`."""
        in_specs = PartitionSpec(SEEDS), self._hyper_specs, PartitionSpec()
        # Traced once more to learn the state's shape, where that is needed.
        out_specs = None if self.mesh is None else self._state_specs(self.template(demos))
        return self._jit(self._init_all, in_specs, out_specs)(self.seeds, self.hyper, self._share(demos))

    def template(self, demos: Demos | None) -> LearnerState:
        """Shapes and dtypes of the states, and where they belong on several devices, without computing them.

        Not where, if those are devices of several processes: what one of them has read, `spread` puts there.
        """
        shapes = jax.eval_shape(self._init_all, self.seeds, self.hyper, demos)
        if self.mesh is None or self._several:
            return shapes
        placed = lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place)  # noqa: E731
        return jax.tree.map(placed, shapes, self._shardings(self._state_specs(shapes)))

    def whole(self, tree: PyTree) -> PyTree:
        """What a method returned, as arrays that this process has all of; a collective."""
        if not self._several:
            return tree
        return jax.tree.map(lambda x: x.addressable_data(0), self._gather(tree))

    def spread(self, state: LearnerState | None, demos: Demos | None) -> LearnerState | None:
        """Process 0's `state` on the devices of all processes, whatever the others bring; a collective."""
        if not self._several:
            return state
        shapes = self.template(demos)
        found = hosts.anywhere(hosts.is_first() and state is not None)
        if not found:
            return None
        # Keys travel as the numbers that they are made of.
        bare = lambda tree: jax.tree.map(lambda x: jax.random.key_data(x) if _is_key(x) else x, tree)  # noqa: E731
        clothe = lambda x, like: jax.random.wrap_key_data(x) if _is_key(like) else x  # noqa: E731
        blank = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), jax.eval_shape(bare, shapes))
        data = hosts.from_first(jax.tree.map(np.asarray, bare(state)) if hosts.is_first() else blank)
        place = self._shardings(self._state_specs(shapes))
        return jax.jit(lambda data: jax.tree.map(clothe, data, shapes), out_shardings=place)(data)

    def _advance(self, state: LearnerState, hyper: Hyper, demos: Demos | None) -> tuple[LearnerState, Metrics]:
        self.traces += 1
        one: Callable[..., tuple[PyTree, Metrics]] = self.learner.step
        step = jax.vmap(one, in_axes=(0, self._hyper_axes, None))
        return jax.lax.scan(lambda s, _: step(s, hyper, demos), state, None, length=self.chunk)

    def lower(self, state: LearnerState, demos: Demos | None) -> jax.stages.Lowered:
        """The program of `advance`, traced for `state` (or its shapes) and not yet compiled."""
        specs = self._state_specs(state)
        in_specs = specs, self._hyper_specs, PartitionSpec()
        advance = self._jit(self._advance, in_specs, (specs, PartitionSpec(None, SEEDS)), donate_argnums=0)
        return advance.lower(state, self.hyper, demos)

    def advance(self, state: LearnerState, demos: Demos | None) -> tuple[LearnerState, Metrics]:
        """`chunk` iterations of every seed; `state` is donated. Metrics are `[chunk, S]`."""
        demos = self._share(demos)
        if self._compiled is None:
            start = time.perf_counter()
            # Compiled ahead of time: the program exists once, and what compiling took is known apart.
            self._compiled = self.lower(state, demos).compile()
            self.compile_seconds = time.perf_counter() - start
        return self._compiled(state, self.hyper, demos)

    @property
    def program_bytes(self) -> int | None:
        """What the compiled `advance` takes while it runs; None before the first call, or where XLA does not say."""
        return None if self._compiled is None else program_bytes(self._compiled)

    def _evaluate_one(self, episodes: int, agent: PyTree, seed: Array, step: Array) -> Episodes:
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(1), seed), step)
        return evaluate(self.learner.env, self.learner.generator.mode, agent, key, episodes)

    def evaluate(self, state: LearnerState, step: int, episodes: int | None = None) -> Episodes:
        """Deterministic policies over fresh episodes, `[S, E]`; the episodes depend on seed and step only."""
        episodes = episodes or self._episodes
        if episodes not in self._evaluations:
            one = jax.vmap(functools.partial(self._evaluate_one, episodes), in_axes=(0, 0, None))
            # Each device plays its share, or, where they do not divide the episodes, all of its seeds'.
            shared = self.mesh is not None and episodes % self.mesh.shape[ENVS] == 0
            out = PartitionSpec(SEEDS, ENVS) if shared else PartitionSpec(SEEDS)
            self._evaluations[episodes] = self._jit(
                one, (PartitionSpec(SEEDS), PartitionSpec(SEEDS), PartitionSpec()), out
            )
        return self._evaluations[episodes](state.generator, self.seeds, jnp.uint32(step))


def to_policies(
    state: LearnerState, config: Config, env: Env, steps: int, seeds: np.ndarray, lenient: bool = False
) -> list[Policy | None]:
    """The policies of `[S]` states as NumPy objects, one per seed.

    Args:
      state: `[S]` states.
      config: static settings.
      env: the environment.
      steps: environment steps of each seed.
      seeds: `[S]` seed numbers.
      lenient: None instead of an error where training has diverged.

    Raises:
      GailfeError: a seed's training has diverged, so that its policy is not finite.
    """
    generator = jax.tree.map(np.asarray, (state.generator.judged, state.generator.obs_stats))
    metadata = {"env": config.env, "algo": config.algo, "generator": config.generator, "steps": str(steps)}
    policies: list[Policy | None] = []
    for i, seed in enumerate(seeds):
        params, stats = jax.tree.map(lambda x, i=i: x[i], generator)
        try:
            policy = Policy(
                weights=mlp_weights(params["params"]["mean" if config.mixture == 1 else "components"]),
                activation=config.activation,
                obs_mean=stats.mean,
                obs_std=np.asarray(stats.std),
                log_std=params["params"]["log_std"],
                action_low=np.asarray(env.spec.action_low, np.float32),
                action_high=np.asarray(env.spec.action_high, np.float32),
                metadata=metadata | {"seed": str(int(seed))},
            )
        except GailfeError as error:
            if not lenient:
                raise GailfeError(f"seed {seed}: training has diverged at step {steps} ({error})") from None
            policy = None
        policies.append(policy)
    return policies


def _save_policies(policies: list[Policy | None], names: Sequence[int], folder: pathlib.Path, prefix: str = "") -> None:
    for name, policy in zip(names, policies, strict=True):
        if policy is not None:
            policy.save(folder / f"{prefix}seed_{name}.safetensors")


def to_confidences(state: LearnerState, config: Config, env: Env, steps: int, seeds: np.ndarray) -> list[Confidence]:
    """The discriminators of `[S]` states as NumPy objects, one per seed; none without a discriminator."""
    if not isinstance(state.cost, DiscriminatorState):
        return []
    params, stats = jax.tree.map(np.asarray, (state.cost.params, state.cost.stats))
    std = np.asarray(stats.std)
    return [
        Confidence(
            layers=mlp_weights(jax.tree.map(lambda x, i=i: x[i], params["params"])),
            activation=config.activation,
            mean=stats.mean[i],
            std=std[i],
            obs_size=env.spec.obs_size,
            metadata={"env": config.env, "algo": config.algo, "steps": str(steps), "seed": str(int(seed))},
        )
        for i, seed in enumerate(seeds)
    ]


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
            # None is a handler that Python does not know, such as the one of JAX's preemption service.
            signal.signal(number, signal.SIG_DFL if previous is None else previous)


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
    seeds: Sequence[int] | None = None,
) -> TrainResult:
    """Trains `settings.seeds` seeds side by side.

    Where JAX runs in several processes (`gailfe_jax.parallel.distributed.connected`, or `jax.distributed.initialize`),
    they train one run together: every process calls this with the same arguments. Process 0 alone reads and writes
    `out`; the others
    return the same policies, no run folder, no summary, and the metrics of this session.

    Args:
      config: static settings.
      hyper: traced settings, one number for all seeds or `[S]` of them; the defaults if None.
      settings: budget, evaluation, logs.
      out: run folder; nothing is written if None.
      demos: which demonstration file, and which part of it.
      demonstrations: demonstrations in memory, instead of a file.
      annotator: what counts as failed, instead of `config.annotator`.
      resume: continue the run in `out` from its newest checkpoint, bit for bit; start it if there is none.
      on_evaluation: called with `(step, metrics [S])` after each evaluation.
      seeds: `[S]` train these instead, which may repeat beside `[S]` traced settings (a sweep's). Records and files
        then go by position, and a row whose training diverges leaves no policy instead of ending the run of all.

    Raises:
      GailfeError: bad settings or demonstrations, a folder that already holds a run, or one of another configuration;
        in one process or in any of several.
    """
    hyper, settings = hyper or Hyper(), settings or RunSettings()
    with hosts.agreed():
        config = dataclasses.replace(resolve_config(config), env=canonical_name(config.env))
        env = make_env(config.env, config.engine, **config.engine_options)
        imitation = prepare_imitation(config, env, demos or DemoSettings(), demonstrations, annotator)
    lenient = seeds is not None
    numbers = np.arange(settings.first_seed, settings.first_seed + settings.seeds) if seeds is None else np.array(seeds)
    identity = _identity(config, hyper, settings, imitation.record, env.spec.engine)
    identity |= {"seeds": numbers.tolist()} if lenient else {}
    hosts.check_same(_alike(identity) | {"out": out is not None, "resume": resume})
    chunk = max(1, round(settings.eval_every / config.batch_size))
    chunk_steps = chunk * config.batch_size
    num_chunks = max(1, -int(-settings.steps // chunk_steps))
    total_steps = num_chunks * chunk_steps
    learner = make_learner(
        config, env, total_iterations=num_chunks * chunk, annotator=imitation.annotator, success=imitation.success
    )
    names = list(range(len(numbers))) if lenient else numbers.tolist()
    trainer = Trainer(
        learner, hyper, numbers, chunk=chunk, eval_episodes=settings.eval_episodes, devices=settings.devices
    )

    run_dir = None if out is None or not hosts.is_first() else pathlib.Path(out)
    checkpoints = logger = state = None
    messages: Callable[[str], None] = lambda text: None  # noqa: E731
    done_steps = 0
    with hosts.agreed():
        shards = 1 if trainer.mesh is None else trainer.mesh.shape[SEEDS]
        buffers = _check_memory(learner, len(numbers) // shards)
        if settings.wandb and importlib.util.find_spec("wandb") is None:
            raise GailfeError("wandb: not installed; expected `pip install 'gailfe-jax[wandb]'`")
        if run_dir is not None:
            _open_run(run_dir, identity, resume)
            checkpoints = CheckpointManager(run_dir / "checkpoints", keep=settings.keep)
            logger = _logger(run_dir, config, settings, total_steps, imitation, identity, names)
            messages = logger.message
            if buffers:
                messages(f"buffers: {buffers}")
            used, available = 1 if trainer.mesh is None else trainer.mesh.size, jax.device_count()
            if not settings.devices and used < available:
                messages(f"using {used} of {available} devices: more do not divide the environments")
            if resume and checkpoints.latest() is not None:
                done_steps, state = checkpoints.restore(trainer.template(imitation.demos))
                for step, why in checkpoints.skipped.items():
                    messages(f"checkpoint at step {step} is damaged ({why}); using an older one")
                messages(f"resuming at step {done_steps:,}")
            if resume:
                logger.truncate_after(done_steps)
    done_steps = int(hosts.from_first(np.array(done_steps)))
    state = trainer.spread(state, imitation.demos)
    if state is None:
        state = trainer.init(imitation.demos)

    history: dict[str, list[tuple[int, np.ndarray]]] = {}
    trained_seconds, eval_seconds, last_save, saved_step = 0.0, 0.0, time.monotonic(), done_steps
    with _deferred_signals() as caught, contextlib.closing(logger) if logger else contextlib.nullcontext():
        start_step = done_steps
        finished = done_steps >= total_steps or _ended(trainer, state)
        while not finished and not hosts.anywhere(bool(caught)):
            start = time.perf_counter()
            compiled_before = trainer.compile_seconds
            state, traced = trainer.advance(state, imitation.demos)
            metrics = {name: np.asarray(value) for name, value in trainer.whole(traced).items()}
            trained_seconds += time.perf_counter() - start - (trainer.compile_seconds - compiled_before)
            done_steps += chunk_steps
            finished = done_steps >= total_steps or _ended(trainer, state)
            start = time.perf_counter()
            episodes = jax.tree.map(np.asarray, trainer.whole(trainer.evaluate(state, done_steps)))
            eval_seconds += time.perf_counter() - start
            row = _summarise(metrics) | {
                "return_mean": episodes.returns.mean(axis=1),
                "return_std": episodes.returns.std(axis=1),
                "length_mean": episodes.lengths.mean(axis=1),
                "steps_per_second": np.full(len(names), len(names) * (done_steps - start_step) / trained_seconds),
            }
            for name, value in row.items():
                history.setdefault(name, []).append((done_steps, value))
            if logger is not None:
                logger.log(done_steps, row)
            due = bool(caught) or time.monotonic() - last_save > settings.checkpoint_seconds
            save = out is not None and (finished or hosts.anywhere(hosts.is_first() and due))
            if save or settings.snapshots:
                shown = trainer.whole(state)
                if run_dir is not None and settings.snapshots:
                    snapshots = to_policies(shown, config, env, done_steps, numbers, lenient)
                    _save_policies(snapshots, names, run_dir / "snapshots", f"step_{done_steps:09d}_")
                if save and checkpoints is not None:
                    checkpoints.save(done_steps, shown, identity)
                if save:
                    last_save, saved_step = time.monotonic(), done_steps
            if on_evaluation is not None:
                on_evaluation(done_steps, row)
        state = trainer.whole(state)
        # A signal may come after the last look at `caught`.
        if checkpoints is not None and saved_step != done_steps:
            checkpoints.save(done_steps, state, identity)

        policies = to_policies(state, config, env, done_steps, numbers, lenient)
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
            if done_steps == start_step:
                timing |= _recorded_timing(run_dir, timing)
            for name, judge in zip(names, to_confidences(state, config, env, done_steps, numbers)):
                judge.save(run_dir / FOLDER / f"seed_{name}.safetensors")
            _save_policies(policies, names, run_dir / "policies")
            summary = _finish(run_dir, config, done_steps, finished, curves, imitation, timing, len(names))
            place = "" if lenient else f"; run folder: {run_dir}"
            messages(f"{'finished' if finished else 'interrupted'} at step {done_steps:,}{place}")
    made = [policy for policy in policies if policy is not None]
    return TrainResult(run_dir, done_steps, made, curves, summary, not finished)


def _check_memory(learner: AnyLearner, seeds: int) -> str:
    """What the buffers of the `seeds` that one device holds take, in words; empty without buffers.

    Raises:
      GailfeError: they do not fit into what is free.
    """
    sizes = learner.buffer_bytes() if isinstance(learner, Learner) else {}
    need, free = seeds * sum(sizes.values()), free_bytes()
    words = ", ".join(f"{name} {seeds * size / 2**20:,.0f} MiB" for name, size in sizes.items())
    if need > free:
        raise GailfeError(
            f"memory: the buffers of {seeds} seed(s) need {need / 2**30:.3g} GiB ({words}) and {free / 2**30:.3g} are "
            "free; expected a smaller failure_capacity, own_capacity or model_capacity, fewer environments or seeds"
        )
    return words


def _ended(trainer: Trainer, state: PyTree) -> bool:
    """Whether more iterations would change nothing: cloning whose seeds have all lost patience."""
    return isinstance(state, CloningState) and bool(np.all(trainer.whole(state.progress.stopped)))


def load_run(run_dir: str | pathlib.Path) -> dict[str, Any]:
    """`config.json` of a run folder.

    Raises:
      GailfeError: no run there, a damaged file, or one of another version.
    """
    path = pathlib.Path(run_dir) / "config.json"
    if not path.is_file():
        raise GailfeError(f"{path}: no such file; expected a run folder made by gailfe train")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        record = None
    if not isinstance(record, dict):
        raise GailfeError(f"{path}: damaged; expected what gailfe train wrote")
    if record.get("version") != CONFIG_VERSION:
        found = record.get("version")
        raise GailfeError(f"{path}: field 'version': {found!r}; this release reads version {CONFIG_VERSION}")
    for name in ("config", "hyper", "settings", "demos"):
        if not isinstance(record.get(name), dict):
            raise GailfeError(f"{path}: field {name!r}: missing or damaged; expected what gailfe train wrote")
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
        try:
            if kind is Hyper:
                values = {key: np.asarray(value, np.float64).tolist() for key, value in values.items()}
            parts.append(kind(**values))
        except GailfeError:
            raise
        except (TypeError, ValueError):
            raise GailfeError(f"config.json: field '{name}': holds a value of the wrong type") from None
    return tuple(parts)  # type: ignore[return-value]


def load_policies(run_dir: str | pathlib.Path) -> list[Policy]:
    """The policies a run left, in order of their seeds.

    Raises:
      GailfeError: there are none yet, or one is damaged.
    """
    folder = pathlib.Path(run_dir) / "policies"
    numbered = {path.stem.removeprefix("seed_"): path for path in folder.glob("seed_*.safetensors")}
    files = [numbered[name] for name in sorted((name for name in numbered if name.isdecimal()), key=int)]
    if not files:
        raise GailfeError(f"{folder}: no policies; expected the folder of a run that ended or was interrupted")
    return [Policy.load(path) for path in files]


def _identity(
    config: Config, hyper: Hyper, settings: RunSettings, demos: dict[str, Any], engine: str
) -> dict[str, Any]:
    return {
        "version": CONFIG_VERSION,
        "engine": engine,  # What `config.engine=auto` turned out to be.
        "config": dataclasses.asdict(config),
        "hyper": {k: np.asarray(v).tolist() for k, v in dataclasses.asdict(hyper).items()},
        "settings": dataclasses.asdict(settings),
        "demos": demos,
    }


# What may change when a run resumes: where it runs and how it is shown, how long it goes on, and where the
# demonstrations lie (their content is compared).
_FREE_ON_RESUME = (
    *("settings.steps", "settings.checkpoint_seconds", "settings.keep", "settings.snapshots"),
    *("settings.tensorboard", "settings.wandb", "settings.quiet", "settings.devices"),
    *("demos.demos", "demos.sha256", "demos.provenance", "demos.expert"),
)


def _alike(identity: dict[str, Any]) -> dict[str, Any]:
    """What of `identity` several processes must share, by name: all but where each finds the demonstrations."""
    demos = {name: value for name, value in identity["demos"].items() if f"demos.{name}" not in _FREE_ON_RESUME}
    fields = {name: value for part in ("config", "hyper", "settings") for name, value in identity[part].items()}
    return fields | {"engine": identity["engine"], "demos": demos, "seeds": identity.get("seeds", fields["seeds"])}


def _open_run(run_dir: pathlib.Path, identity: dict[str, Any], resume: bool) -> None:
    path = run_dir / "config.json"
    if run_dir.exists() and not run_dir.is_dir():
        raise GailfeError(f"{run_dir}: is a file; expected a folder for the run")
    if path.exists() and not resume:
        raise GailfeError(f"{run_dir}: already holds a run; add --resume to continue it, or choose another --out")
    origin: dict[str, Any] = {"provenance": provenance()}
    if path.exists():
        saved = load_run(run_dir)
        config, hyper, settings, _ = settings_from_run(saved)
        engine = saved.get("engine", identity["engine"])
        before = _identity(config, hyper, settings, saved["demos"], engine)
        before |= {"seeds": saved["seeds"]} if "seeds" in saved else {}
        check_config(before, identity, ignore=_FREE_ON_RESUME)
        origin = {"provenance": saved.get("provenance"), "resumed": [*saved.get("resumed", []), origin["provenance"]]}
    elif run_dir.exists() and any(run_dir.iterdir()):
        raise GailfeError(f"{run_dir}: exists and holds no run; choose another --out")
    run_dir.mkdir(parents=True, exist_ok=True)
    write_json_atomic(path, identity | origin)


def _logger(
    run_dir: pathlib.Path,
    config: Config,
    settings: RunSettings,
    total_steps: int,
    imitation: Imitation,
    identity: dict[str, Any],
    names: Sequence[int],
) -> RunLogger:
    rows = f"{len(names) // settings.seeds} settings x " if "seeds" in identity else ""
    return RunLogger(
        run_dir,
        num_seeds=len(names),
        seeds=names,
        total_steps=total_steps,
        title=f"{config.algo} ({config.generator}) on {config.env}, {rows}{settings.seeds} seed(s)",
        use_tensorboard=settings.tensorboard,
        use_wandb=settings.wandb,
        quiet=settings.quiet,
        expert_return=imitation.expert_return,
        run_config=identity,
    )


def _summarise(metrics: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Means over a chunk, `[chunk, S] -> [S]`; counts at its end; episode means weighted by episodes."""
    last = {"multiplier", "failures_in_buffer", "failure_transitions", "entropy", "irlf_lambda"}
    last |= {"validation_loss", "best_validation_loss", "stopped", "aggregate"}

    def over_chunk(value: np.ndarray) -> np.ndarray:
        # Each seed's numbers in a row of their own: else NumPy's order of summation depends on the number of seeds.
        return np.ascontiguousarray(value.T, np.float64).sum(axis=1)

    # Cloning sees no episodes.
    weights = metrics.get("episodes", np.zeros_like(next(iter(metrics.values()))))
    total = over_chunk(weights)
    row = {}
    for name, value in metrics.items():
        if name in last:
            row[name] = value[-1]
        elif name == "episodes":
            row[name] = total
        elif name.startswith("train_"):
            sums = over_chunk(np.where(weights > 0, value * weights, 0.0))
            row[name] = np.divide(sums, total, out=np.full(total.shape, np.nan), where=total > 0)
        else:
            row[name] = over_chunk(value) / len(value)
    return row


def _stack(points: list[tuple[int, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([step for step, _ in points]), np.stack([value for _, value in points], axis=1)


def _recorded(run_dir: pathlib.Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    records = read_metrics(run_dir / "metrics.jsonl") if (run_dir / "metrics.jsonl").exists() else []
    names = [name for name in (records[0] if records else {}) if name not in ("seed", "step")]
    return {name: stack_metric(records, name) for name in names}


def _recorded_timing(run_dir: pathlib.Path, timing: dict[str, float]) -> dict[str, float]:
    """What an earlier session's summary says of its speed; a session without a step has nothing to add."""
    try:
        summary = json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))
        return {name: float(summary[name]) for name in timing}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _finish(
    run_dir: pathlib.Path,
    config: Config,
    done_steps: int,
    finished: bool,
    curves: dict[str, tuple[np.ndarray, np.ndarray]],
    imitation: Imitation,
    timing: dict[str, float],
    num_seeds: int,
) -> dict[str, Any]:
    summary: dict[str, Any] = {
        "algo": config.algo,
        "env": config.env,
        "steps": done_steps,
        "finished": finished,
        "expert_return": imitation.expert_return,
        "annotator": imitation.record.get("annotator"),
        **timing,
        "provenance": provenance(),
    }
    if timing["train_seconds"] > 0:
        summary["steps_per_second"] = timing["steps_this_session"] * num_seeds / timing["train_seconds"]
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
