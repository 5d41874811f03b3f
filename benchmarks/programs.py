"""Whether a change of the code changes the programs: a hash of every method's lowered text, and its first metrics.

    python benchmarks/programs.py --out before.json           # on the old commit
    python benchmarks/programs.py --compare before.json       # on the new one

Two hashes are compared: of the whole text, and of the operations alone, which leaves out what functions and loops hand
to each other, so that it is the same where arguments merely changed places. For `--metrics`, the metrics of the first
three iterations and the returns of an evaluation are compared too, bit for bit. A hash may differ where no number does.
This is a developer's tool for one change at a time; no result of it is committed.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import re
import sys
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax.numpy as jnp
import numpy as np

from gailfe_jax.artifacts.oracle import Oracle
from gailfe_jax.artifacts.policy import load_expert
from gailfe_jax.config.tree import leaves, put, without_unread
from gailfe_jax.data.annotators import parse_success, terminated
from gailfe_jax.envs import make_env
from gailfe_jax.learners.base import Learner
from gailfe_jax.learners.combinations import COMBINATIONS, Combination
from gailfe_jax.learners.sources import Demos
from gailfe_jax.training.program import Trainer
from gailfe_jax.types import Env, StateAction

ITERATIONS, SEEDS = 3, 2
ORDER, OPERATIONS = "program (not its operations)", "program"
# Small enough to compile in seconds; a setting that a method has not got is left out.
TINY: dict[str, Any] = {
    "rollout.num_envs": 4, "rollout.unroll_length": 32, "policy.hidden": (8,), "policy.value_minibatch": 64,
    "policy.epochs": 2, "policy.minibatches": 2, "policy.minibatch": 64, "policy.model.hidden": (8,),
    "policy.model.fit_steps": 4, "policy.model.minibatch": 32, "policy.model.capacity": 500, "reward.hidden": (8,),
    "reward.minibatch": 64, "reward.lr": 3e-3, "failures.capacity": 6, "constraint.threshold": -0.3,
    "constraint.dual_lr": 0.1, "start.minibatch": 64, "policy.max_kl": 0.02,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Case:
    """A program to look at.

    Attributes:
      combination: the method and what it differs in from the tiny settings.
      env, engine: where.
      traced: traced settings that differ between the seeds, `name -> [S]`.
    """

    combination: Combination
    env: str = "hopper"
    engine: str = "mujoco_c"
    traced: dict[str, list[float]] = dataclasses.field(default_factory=dict)

    def learner(self) -> tuple[Learner, Env]:
        """The method bound to its environment."""
        method = self.combination.build()
        tiny = {name: value for name, value in TINY.items() if name in leaves(method)}
        if "reward.slack" in leaves(method):
            del tiny["reward.lr"]
        method = without_unread(put(put(method, tiny), self.combination.settings))
        method = put(method, {name: np.array(values, np.float32) for name, values in self.traced.items()})
        env = make_env(self.env, self.engine)
        own = getattr(method, "self_demonstrations", None)
        success = None
        if own is not None and own.use != "none" and own.episodes != "top_k":
            success = parse_success(own.episodes, expert_return=3000.0)
        return method.on(env, total_iterations=ITERATIONS, annotator=terminated(), success=success), env


def cases() -> dict[str, Case]:
    """Every combination on Hopper, and what no combination holds."""
    found = {combination.name: Case(combination) for combination in COMBINATIONS}

    def add(name: str, method: str, settings: dict[str, Any] | None = None, policy: str | None = None, **place: Any):
        found[name] = Case(Combination(name, "", method, policy, settings or {}), **place)

    small = {"rollout.num_envs": 2, "rollout.unroll_length": 16, "policy.value_minibatch": 16}
    add("GAIL on mjx", "gail", small, engine="mjx")
    running = {"policy.obs_normaliser": "running", "policy.average": 0.95}
    add("GAIL on halfcheetah, running statistics", "gail", running, env="halfcheetah")
    decay = {"true_reward.add": True, "true_reward.alpha_decay": True}
    add("GASIL on delayed20:walker2d", "gasil", decay, env="delayed20:walker2d")
    late = {"policy.mixture": 2, "start.steps": 8, "schedule.warmup_iterations": 1, "schedule.anneal": True}
    add("GAIL mixture, clone, warm-up, anneal", "gail", late | {"policy.average": 0.9})
    cycles = {"reward.replay": 300, "schedule.warm_restarts": 2, "reward.gradient_penalty": False}
    add("GAIL replay, cycles", "gail", cycles | {"reward.form": "logit"})
    fixed = {"constraint.multiplier": "fixed", "failures.last_steps": 5, "failures.source": "own"}
    add("GAILFE fixed, last steps", "gailfe", fixed | {"constraint.weight": 0.7})
    gated = {"policy.model.kind": "gated", "start.steps": 4, "policy.terminal_value": False, "policy.pathwise": 1.0}
    add("MAIL gated, clone, free value", "mail", gated)
    add("FEM moments, none", "fem", {"reward.features": "moments", "reward.offset": "none"})
    add("GAIL swept", "gail", traced={"reward.lr": [1e-3, 3e-3], "policy.gamma": [0.9, 0.99]})
    return found


def random_demos(learner: Learner, env: Env) -> Demos | None:
    """Demonstrations of noise, which teach nothing and take the same path."""
    if learner.asks_expert:
        return Demos(None, oracle=Oracle.of(load_expert(env.spec.name)))
    if not learner.needs_demonstrations:
        return None
    rng, (o, a) = np.random.default_rng(0), (env.spec.obs_size, env.spec.action_size)
    obs, action, following = rng.normal(size=(200, o)), rng.uniform(-1, 1, (200, a)), rng.normal(size=(200, o))
    pairs = StateAction(jnp.asarray(obs, jnp.float32), jnp.asarray(action, jnp.float32))
    demos = Demos(pairs, next_obs=jnp.asarray(following, jnp.float32))
    return demos if learner.name != "bc" else demos.replace(trajectory=jnp.arange(200, dtype=jnp.int32) // 20)


def canonical(text: str) -> str:
    """A lowered program's text without names, addresses and places in the source."""
    text = re.sub(r'jax\.result_info = "[^"]*"', "", text)
    text = re.sub(r'backend_config = (\{[^}]*\}|"[^"]*")', "backend_config", text)
    text = re.sub(r"dense<\d+> : tensor<i64>", "dense<N> : tensor<i64>", text)
    text = re.sub(r"loc\([^)]*\)|#loc.*", "", text)
    names: dict[str, int] = {}
    return re.sub(r"@([\w.$-]+|\"[^\"]*\")", lambda match: f"@f{names.setdefault(match[1], len(names))}", text)


def operations(text: str) -> collections.Counter[str]:
    """How often a program runs each operation, a loop's body counted once: operations with their types and constants.

    Names do not count, nor does what functions, branches and loops take and return, nor in how many functions the
    operations stand.

    Args:
      text: from `canonical`.
    """
    own: dict[str, collections.Counter[str]] = {}
    calls: dict[str, collections.Counter[str]] = {}
    name = ""
    for line in text.splitlines():
        signature = re.match(r"\s*func\.func \w+ @(\w+)", line)
        if signature is not None:
            name = signature[1]
            own[name], calls[name] = collections.Counter(), collections.Counter()
            continue
        result = re.match(r"\s*%\w+(:\d+)? = (.*)", line)
        if result is None:
            continue
        call = re.match(r"(?:func\.)?call @(\w+)", result[2])
        if call is not None:
            calls[name][call[1]] += 1
            continue
        operation = re.sub(r"%\w+(#\d+)?", "%", result[2])
        if operation.startswith(("stablehlo.while", "stablehlo.optimization_barrier")):
            operation = operation.split("(")[0].split(" ")[0]  # What follows is what is carried through.
        own[name][re.sub(r"@\w+", "@", operation)] += 1

    @functools.cache
    def total(name: str) -> collections.Counter[str]:
        found = collections.Counter(own[name])
        for callee, times in calls[name].items():
            found.update({operation: times * count for operation, count in total(callee).items()})
        return found

    return total(next(iter(own)))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def look(case: Case, metrics: bool, keep: pathlib.Path | None) -> dict[str, Any]:
    """The hashes of a case's program and, where asked for, its first numbers as hexadecimal floats."""
    learner, env = case.learner()
    demos = random_demos(learner, env)
    trainer = Trainer(learner, np.arange(SEEDS), chunk=ITERATIONS, eval_episodes=2)
    text = canonical(trainer.lower(trainer.template(demos), demos).as_text())
    if keep is not None:
        keep.write_text(text)
    counted = "\n".join(f"{count} {operation}" for operation, count in sorted(operations(text).items()))
    row: dict[str, Any] = {"sha256": _sha256(text), "operations": _sha256(counted), "lines": text.count("\n")}
    if metrics:
        exact = lambda x: [[float(v).hex() for v in r] for r in np.asarray(x, np.float64)]  # noqa: E731
        state, found = trainer.advance(trainer.init(demos), demos)
        row["metrics"] = {name: exact(value) for name, value in sorted(found.items())}
        row["returns"] = exact(trainer.evaluate(state, 7).returns)
    return row


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs between two looks at one case."""
    found = []
    if before["sha256"] != now["sha256"]:
        found.append(ORDER if before.get("operations") == now["operations"] else OPERATIONS)
    if "metrics" in before and "metrics" in now:
        names = sorted(before["metrics"].keys() | now["metrics"].keys())
        found += [name for name in names if before["metrics"].get(name) != now["metrics"].get(name)]
        found += [] if before["returns"] == now["returns"] else ["returns"]
    return found


def main() -> int:
    """Looks at every case; 1 where a number differs from the file that it is compared with."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, help="write what was found here")
    parser.add_argument("--compare", type=pathlib.Path, help="a file of --out to compare with")
    parser.add_argument("--metrics", action="store_true", help="compile and run three iterations of each")
    parser.add_argument("--only", nargs="*", default=(), help="names of cases")
    parser.add_argument("--texts", type=pathlib.Path, help="keep the programs' texts in this folder")
    args = parser.parse_args()
    before = json.loads(args.compare.read_text()) if args.compare else {}
    found, worst = {}, 0
    for name, case in cases().items():
        if args.only and name not in args.only:
            continue
        keep = None
        if args.texts is not None:
            args.texts.mkdir(parents=True, exist_ok=True)
            keep = args.texts / (re.sub(r"\W+", "_", name) + ".txt")
        found[name] = look(case, args.metrics, keep)
        differing = differences(before[name], found[name]) if name in before else None
        same = "new" if differing is None else "the same" if not differing else "differs: " + ", ".join(differing)
        print(f"{name}: {found[name]['sha256'][:12]} {same}", flush=True)
        worst = max(worst, int(bool(set(differing or ()) - {ORDER, OPERATIONS})))
        if args.out:
            args.out.write_text(json.dumps(found, indent=1))
    return worst


if __name__ == "__main__":
    sys.exit(main())
