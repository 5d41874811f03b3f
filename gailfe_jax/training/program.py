"""The compiled programs of a run, over seeds and devices."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gailfe_jax.config.parts import as_arrays, path_name
from gailfe_jax.envs.rollout import Episodes, Visited, evaluate, visit
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.base import Learner, LearnerState
from gailfe_jax.learners.sources import Demos
from gailfe_jax.parallel import distributed
from gailfe_jax.parallel.devices import ENVS, SEEDS, compiler_options, computes_on_cpu, cpu
from gailfe_jax.parallel.memory import further_bytes, program_bytes
from gailfe_jax.training import divergence
from gailfe_jax.training.divergence import Found
from gailfe_jax.types import Array, Env, Metrics, PyTree


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


@dataclasses.dataclass(frozen=True)
class Agents:
    """Of a state what evaluation needs, on the host: `agent [S]`."""

    agent: PyTree


class Trainer:
    """The compiled programs of one run: `init`, a chunk of iterations, and an evaluation, vmapped over seeds.

    On several devices each program is sharded over a mesh: seeds are trained apart, and the devices that share a seed
    step their part of its environments and average their gradients (see `gailfe_jax.parallel.seeds`). What is computed
    is the same to rounding for any number of devices, and what comes out has the same shapes.

    Of several processes (see `gailfe_jax.parallel.distributed`) each makes the same trainer and calls the same methods
    in the same order. What comes out is then spread over all of them; `gather` fetches it.

    Args:
      learner: a method on its environment; its traced settings are scalars shared by all seeds, or `[S]` arrays.
      seeds: `[S]` seed numbers.
      chunk: iterations per call of `advance`.
      eval_episodes: episodes per evaluation and seed.
      devices: how many to use, 0 for all that fit.
      precision: of matrix products on accelerators (see `RunSettings.precision`).
      judge: evaluate in this environment, on the host's CPU, instead of the learner's; for one process alone.

    Attributes:
      mesh: of devices, None for one.
      compile_seconds: what tracing and compiling `advance` took (once it has).
      eval_compile_seconds: the same of evaluations.
      traces: how often the learner's step was traced; stays 1.

    Raises:
      GailfeError: a traced setting that is not finite, or neither one number nor one per seed; or see `mesh_shape`.
    """

    def __init__(
        self,
        learner: Learner,
        seeds: np.ndarray,
        *,
        chunk: int,
        eval_episodes: int,
        devices: int = 1,
        precision: str = "highest",
        judge: Env | None = None,
    ):
        self.learner = as_arrays(learner)
        self.seeds = jnp.asarray(seeds, jnp.uint32)
        for path, value in jax.tree_util.tree_leaves_with_path(self.learner):
            if value.shape not in ((), self.seeds.shape):
                name = path_name(path)
                raise GailfeError(f"{name}: got shape {value.shape}; expected one number or {len(self.seeds)} of them")
        self.chunk = chunk
        self.compile_seconds = self.eval_compile_seconds = 0.0
        self._precision, self.judge = precision, judge
        self.traces = 0
        self._axes = jax.tree.map(lambda x: 0 if jnp.ndim(x) else None, self.learner)
        self._compiled: Callable[..., tuple[PyTree, Metrics]] | None = None
        here, processes = jax.devices(), jax.process_count()
        shape = mesh_shape(devices, len(self.seeds), learner.rollout.num_envs, len(here), processes)
        # As many of each process, and side by side: what shares a seed is then on one host if it can be.
        here = sorted(here, key=lambda device: device.process_index)
        chosen = np.array(here).reshape(processes, -1)[:, : math.prod(shape) // processes]
        # One device needs no mesh, and gets the program that it always got.
        self.mesh = None if chosen.size == 1 else Mesh(chosen.reshape(shape), (SEEDS, ENVS))
        self._several = processes > 1
        if self._several:
            places = self._shardings((PartitionSpec(SEEDS), self._learner_specs))
            self.seeds, self.learner = jax.device_put((self.seeds, self.learner), places)
            self._replicate = jax.jit(lambda tree: tree, out_shardings=self._shardings(PartitionSpec()))
        self._evaluations: dict[int, Any] = {}
        self._visits: dict[int, Any] = {}
        self._episodes = eval_episodes
        self._shared: tuple[Demos | None, Demos | None] = (None, None)

    def _jit(
        self, fn: Callable[..., Any], in_specs: PyTree, out_specs: PyTree, *, once: bool = False, **options: Any
    ) -> Any:
        """`jax.jit`, sharded over the mesh where there is one, with products of the chosen precision."""
        fn = self._precise(fn)
        options |= {"compiler_options": compiler_options(self.learner.env.spec, once=once)}
        if self.mesh is None:
            return jax.jit(fn, **options)
        # Host callbacks and loops cannot be partitioned automatically: every device runs the program on its shard.
        fn = jax.shard_map(fn, mesh=self.mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)
        return jax.jit(fn, in_shardings=self._shardings(in_specs), out_shardings=self._shardings(out_specs), **options)

    def _precise(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        # On a CPU the products are the same, and programs keep the text that they always had.
        if computes_on_cpu():
            return fn

        @functools.wraps(fn)
        def precise(*args: Any) -> Any:
            with jax.default_matmul_precision(self._precision):
                return fn(*args)

        return precise

    def _shardings(self, specs: PyTree) -> PyTree:
        assert self.mesh is not None
        mesh = self.mesh
        place = lambda spec: NamedSharding(mesh, spec)  # noqa: E731
        return jax.tree.map(place, specs, is_leaf=lambda x: isinstance(x, PartitionSpec))

    def _state_specs(self, state: LearnerState) -> LearnerState:
        specs = jax.tree.map(lambda _: PartitionSpec(SEEDS), state)
        return specs.replace(env=jax.tree.map(lambda _: PartitionSpec(SEEDS, ENVS), state.env))

    @property
    def _learner_specs(self) -> Learner:
        return jax.tree.map(lambda x: PartitionSpec(SEEDS) if jnp.ndim(x) else PartitionSpec(), self.learner)

    def _share(self, demos: Demos | None) -> Demos | None:
        """`demos` on every device, copied there once."""
        if self.mesh is None or demos is None:
            return demos
        if self._shared[0] is not demos:
            self._shared = demos, jax.device_put(demos, NamedSharding(self.mesh, PartitionSpec()))
        return self._shared[1]

    def _key(self, seed: Array) -> Array:
        return jax.random.fold_in(jax.random.key(0), seed)

    def _init_all(self, seeds: Array, learner: Learner, demos: Demos | None) -> LearnerState:
        one = lambda seed, learner: learner.init(self._key(seed), demos)  # noqa: E731
        return jax.vmap(one, in_axes=(0, self._axes))(seeds, learner)

    def init(self, demos: Demos | None) -> LearnerState:
        """Fresh states, `[S]`."""
        in_specs = PartitionSpec(SEEDS), self._learner_specs, PartitionSpec()
        # Traced once more to learn the state's shape, where that is needed.
        out_specs = None if self.mesh is None else self._state_specs(self.template(demos))
        once = self.learner.starts_at_once
        return self._jit(self._init_all, in_specs, out_specs, once=once)(self.seeds, self.learner, self._share(demos))

    def template(self, demos: Demos | None) -> LearnerState:
        """Shapes and dtypes of the states, and where they belong on several devices, without computing them.

        Not where, if those are devices of several processes: what one of them has read, `scatter` puts there.
        """
        shapes = jax.eval_shape(self._init_all, self.seeds, self.learner, demos)
        if self.mesh is None or self._several:
            return shapes
        placed = lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place)  # noqa: E731
        return jax.tree.map(placed, shapes, self._shardings(self._state_specs(shapes)))

    def gather(self, tree: PyTree) -> PyTree:
        """What a method returned, as arrays that this process has all of; a collective."""
        if not self._several:
            return tree
        return jax.tree.map(lambda x: x.addressable_data(0), self._replicate(tree))

    def scatter(self, state: LearnerState | None, demos: Demos | None) -> LearnerState | None:
        """Process 0's `state` on the devices of all processes, whatever the others bring; a collective."""
        if not self._several:
            return state
        shapes = self.template(demos)
        found = distributed.anywhere(distributed.is_first() and state is not None)
        if not found:
            return None
        # Keys travel as the numbers that they are made of.
        bare = lambda tree: jax.tree.map(lambda x: jax.random.key_data(x) if _is_key(x) else x, tree)  # noqa: E731
        clothe = lambda x, like: jax.random.wrap_key_data(x) if _is_key(like) else x  # noqa: E731
        blank = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), jax.eval_shape(bare, shapes))
        data = distributed.from_first(jax.tree.map(np.asarray, bare(state)) if distributed.is_first() else blank)
        place = self._shardings(self._state_specs(shapes))
        return jax.jit(lambda data: jax.tree.map(clothe, data, shapes), out_shardings=place)(data)

    @property
    def stores_environments(self) -> bool:
        """Whether a checkpoint holds all of the environments' state; see `restart` of `gailfe_jax.types.Env`."""
        return getattr(self.learner.env, "restart", None) is None

    def resumed(self, state: LearnerState) -> LearnerState:
        """What a state that was read from a checkpoint goes on as, with new episodes where they could not be stored."""
        if self.stores_environments:
            return state
        specs = self._state_specs(state)
        restart = jax.vmap(jax.vmap(self.learner.env.restart))
        return self._jit(lambda state: state.replace(env=restart(state.env)), (specs,), specs, once=True)(state)

    def _advance(self, state: LearnerState, learner: Learner, demos: Demos | None) -> tuple[LearnerState, Metrics]:
        self.traces += 1
        one = lambda learner, state, demos: learner.step(state, demos)  # noqa: E731
        step = jax.vmap(one, in_axes=(self._axes, 0, None))
        return jax.lax.scan(lambda s, _: step(learner, s, demos), state, None, length=self.chunk)

    def trace(self, state: LearnerState, demos: Demos | None) -> jax.stages.Traced:
        """The program of `advance`, traced for `state` (or its shapes): it can be lowered for any platform."""
        specs = self._state_specs(state)
        in_specs = specs, self._learner_specs, PartitionSpec()
        advance = self._jit(self._advance, in_specs, (specs, PartitionSpec(None, SEEDS)), donate_argnums=0)
        return advance.trace(state, self.learner, demos)

    def lower(self, state: LearnerState, demos: Demos | None) -> jax.stages.Lowered:
        """The program of `advance` for this machine's devices, not yet compiled."""
        return self.trace(state, demos).lower()

    def advance(self, state: LearnerState, demos: Demos | None) -> tuple[LearnerState, Metrics]:
        """`chunk` iterations of every seed; `state` is donated. Metrics are `[chunk, S]`."""
        return self.compiled(state, demos)(state, self.learner, self._share(demos))

    def compiled(self, state: LearnerState, demos: Demos | None) -> Callable[..., tuple[PyTree, Metrics]]:
        """The program of `advance`, compiled when it is first asked for."""
        if self._compiled is None:
            start = time.perf_counter()
            # Compiled ahead of time: the program exists once, and what compiling took is known apart.
            self._compiled = self.lower(state, self._share(demos)).compile()
            self.compile_seconds = time.perf_counter() - start
        return self._compiled

    @property
    def program_bytes(self) -> int | None:
        """What the compiled `advance` takes while it runs; None before the first call, or where XLA does not say."""
        return None if self._compiled is None else program_bytes(self._compiled)

    @property
    def further_bytes(self) -> int | None:
        """What it takes beside the state that is there already; None as `program_bytes`."""
        return None if self._compiled is None else further_bytes(self._compiled)

    def _evaluate_one(self, episodes: int, agent: PyTree, seed: Array, step: Array) -> Episodes:
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(1), seed), step)
        return evaluate(self.judge or self.learner.env, self.learner.policy.deterministic_action, agent, key, episodes)

    def _visit_one(self, steps: int, agent: PyTree, seed: Array, step: Array) -> Visited:
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(1), seed), step)
        act = self.learner.policy.deterministic_action
        return visit(self.judge or self.learner.env, act, agent, key, self._episodes, steps)

    def nonfinite(self, state: LearnerState) -> Found:
        """Which numbers of the states are not finite; a collective."""
        leaves = divergence.watched(state)
        nan, inf = (np.asarray(x) for x in self.gather(divergence.nonfinite(list(leaves.values()))))
        return Found(tuple(leaves), nan, inf)

    def put_back(self, state: LearnerState, kept: LearnerState, which: np.ndarray) -> LearnerState:
        """`kept`, which has no buffers, for the seeds `which [S]`; `state` is donated."""
        placed = jax.tree.map(lambda x: x.sharding, kept)
        found = divergence.put_back(divergence.learned(state), kept, jnp.asarray(which))
        # A compiled program takes its arguments where it expects them.
        found = found if self.mesh is None else jax.device_put(found, placed)
        return found.replace(sources=state.sources)

    def to_judge(self, state: LearnerState) -> LearnerState | Agents:
        """What `evaluate` and `visit` need of the state; where they run on the host, a copy there that outlives it."""
        return state if self.judge is None else Agents(jax.tree.map(np.array, self.gather(state.agent)))

    def _judged(
        self, programs: dict[int, Any], size: int, one: Callable[..., Any], out: PyTree, agents: PyTree, step: int
    ) -> Any:
        """The program `one`, of one seed, over all seeds; compiled for its `size` when that is first asked for."""
        seeds = self.seeds if self.judge is None else np.asarray(self.seeds)
        # On the host's CPU where the judge is; contexts of JAX are a thread's own.
        host = contextlib.nullcontext() if self.judge is None else jax.default_device(cpu())
        with host:
            # Beyond 32 bits of steps episodes come again.
            args = agents, seeds, jnp.uint32(step % 2**32)
            if size not in programs:
                start = time.perf_counter()
                mapped = jax.vmap(functools.partial(one, size), in_axes=(0, 0, None))
                specs = PartitionSpec(SEEDS), PartitionSpec(SEEDS), PartitionSpec()
                made = self._jit(mapped, specs, out) if self.judge is None else jax.jit(mapped)
                programs[size] = made.lower(*args).compile()
                self.eval_compile_seconds += time.perf_counter() - start
            return programs[size](*args)

    def visit(self, state: LearnerState | Agents, step: int, steps: int) -> Visited:
        """What the episodes of `evaluate` at the same `step` visit in their first `steps` steps, `[S, T, E, ...]`."""
        shared = self.mesh is not None and self._episodes % self.mesh.shape[ENVS] == 0
        out = PartitionSpec(SEEDS, None, ENVS) if shared else PartitionSpec(SEEDS)
        return self._judged(self._visits, steps, self._visit_one, out, state.agent, step)

    def evaluate(self, state: LearnerState | Agents, step: int, episodes: int | None = None) -> Episodes:
        """Deterministic policies over fresh episodes, `[S, E]`; the episodes depend on seed and step only."""
        episodes = episodes or self._episodes
        # Each device plays its share, or, where they do not divide the episodes, all of its seeds'.
        shared = self.mesh is not None and episodes % self.mesh.shape[ENVS] == 0
        out = PartitionSpec(SEEDS, ENVS) if shared else PartitionSpec(SEEDS)
        return self._judged(self._evaluations, episodes, self._evaluate_one, out, state.agent, step)
