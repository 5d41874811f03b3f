"""Flags of a run so small that compiling takes nearly all of its time."""

from __future__ import annotations

from gailfe_jax.config.tree import leaves
from gailfe_jax.config.values import show_value
from gailfe_jax.learners.methods import find_method, policy_choices, with_policy
from tests.tiny import SIZES

RUN = ["--eval-every", "32", "--eval-episodes", "1"]
"""How it is carried out: an evaluation after each iteration, of one episode."""


def sizes(algo: str, policy: str | None = None) -> list[str]:
    """The method and its sizes in `tests.tiny`, as far as something reads them."""
    method = find_method(algo) if policy is None else with_policy(find_method(algo), policy)
    words = [algo] + ([] if policy is None or not policy_choices(method) else ["--policy", policy])
    for name, leaf in leaves(method).items():
        if name in SIZES and leaf.unread is None:
            words += [f"--{name.replace('_', '-')}", show_value(SIZES[name])]
    return words
