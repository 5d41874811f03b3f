"""The first page of the results: each claim of a paper with our answer, and what the experiments cost."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.methods import ROOT, interval, markdown, summary

RESULTS = ROOT / "experiments" / "results"


class Claim(NamedTuple):
    """What a paper says and what came out here.

    Attributes:
      text: the claim in plain words.
      paper: who made it.
      answer: ours, one sentence.
      number: the numbers that carry the answer, from the summaries.
      link: to the rest, from docs/results.md.
    """

    text: str
    paper: str
    answer: str
    number: Callable[[], str]
    link: str


def _cells(experiment: str, *named: tuple[str, str]) -> Callable[[], str]:
    """Cells of an experiment, each with what it is called in print."""

    def number() -> str:
        found = summary(experiment)
        return "; ".join(f"{name} {interval(found[cell])}" for name, cell in named)

    return number


def _difference(values: list[float]) -> str:
    return "{:+.2f} [{:+.2f}, {:+.2f}]".format(*values)


def _failures() -> str:
    found = summary("figure1")["comparisons"]
    parts = []
    for task, name in (("hopper", "Hopper"), ("halfcheetah", "HalfCheetah")):
        end = found[f"{task}-gailfe"]["final"]
        parts.append(f"{name} {_difference([end['mean_difference'], *end['interval']])}")
    clone = _difference(summary("from_clones")["hopper-1-dual"]["at the end"]["less_gail"])
    beside = f"Hopper from a clone of 1 demonstration, 50 seeds: {clone}"
    return f"GAILFE less GAIL at the end, 20 seeds: {'; '.join(parts)}; {beside}"


def _interactions() -> str:
    found = summary("table1")
    steps = [np.median(found[f"hopper-4-{kind}-nothing"]["steps_to_0.9_of_expert"]) for kind in ("mail", "gail")]
    return f"Hopper, median steps to 0.9 from nothing: MAIL {steps[0]:,.0f}, GAIL {steps[1]:,.0f}"


def _pathwise() -> str:
    return f"without it: {_difference(summary('ablation')['pathwise-0']['against_base'])}"


def _own_best() -> str:
    found = summary("gasil_delayed")
    tasks = (("hopper", "Hopper"), ("halfcheetah", "HalfCheetah"), ("walker2d", "Walker2d"))
    parts = [f"{name} {_difference(found[f'{task}-ppo']['gasil_less_this'])}" for task, name in tasks]
    return f"GASIL less PPO at the end: {'; '.join(parts)}"


def _replayed() -> str:
    found = summary("sample_efficiency")
    tasks = []
    for task, step in (("HalfCheetah", "TD3"), ("Hopper", "SAC")):
        parts = []
        for kind, name in (("gail-replay", step), ("gail", "TRPO")):
            each = found[f"{task.lower()}-thinned-{kind}"]["steps_to_sustained_goal"]
            middle = np.median([np.inf if steps is None else steps for steps in each])
            parts.append(f"{name} {middle:,.0f}" if np.isfinite(middle) else f"{name} never")
        tasks.append(f"{task}: {', '.join(parts)}")
    return f"median steps to a sustained 0.9: {'; '.join(tasks)}"


CLAIMS = [
    Claim(
        "Of a few demonstrations GAIL makes the expert's return where cloning fails.",
        "Ho & Ermon 2016",
        "Yes on Hopper and nearly on HalfCheetah; Walker2d needs more steps than the table has.",
        _cells(
            "gail_table",
            ("4 demonstrations, 1 pair in 20: Hopper", "hopper-4-gail"),
            ("cloning", "hopper-4-bc"),
            ("HalfCheetah", "halfcheetah-4-gail"),
            ("cloning", "halfcheetah-4-bc"),
            ("Walker2d", "walker2d-4-gail"),
            ("cloning", "walker2d-4-bc"),
        ),
        "#all-methods-on-few-demonstrations",
    ),
    Claim(
        "GAIL is far ahead of the linear costs FEM and GTAL on large tasks.",
        "Ho & Ermon 2016",
        "Yes on Hopper and Walker2d, by more than published; less so on HalfCheetah.",
        _cells(
            "gail_table",
            ("4 demonstrations: FEM on Hopper", "hopper-4-fem"),
            ("GTAL on Hopper", "hopper-4-gtal"),
            ("FEM on HalfCheetah", "halfcheetah-4-fem"),
        ),
        "#all-methods-on-few-demonstrations",
    ),
    Claim(
        "Failed attempts make GAIL faster and better.",
        "Zhu et al. 2020",
        "Not here: the discriminator finds failures unlike the expert by itself, and the constraint is slack.",
        _failures,
        "#gail-and-gailfe",
    ),
    Claim(
        "A gradient through a learned model needs fewer interactions.",
        "Baram et al. 2016",
        "Not here: on-policy it needs as many.",
        _interactions,
        "#mail",
    ),
    Claim(
        "MAIL makes the expert's return of 4 whole demonstrations.",
        "Baram et al. 2016",
        "Yes on Hopper, where the clone it starts from does too; no on Walker2d.",
        _cells("table1", ("Hopper", "hopper-4-mail"), ("Walker2d", "walker2d-4-mail")),
        "#mail",
    ),
    Claim(
        "The gradient through the model is what helps.",
        "Baram et al. 2016",
        "It helps, mixed with the likelihood ratio; alone it is no better than GAIL.",
        _pathwise,
        "#mail",
    ),
    Claim(
        "Imitating its own best episodes helps PPO where rewards come late.",
        "Guo et al. 2018",
        "Not here: all three intervals hold zero.",
        _own_best,
        "#gasil-pposil-and-ppobc-on-delayed-rewards",
    ),
    Claim(
        "Learning from replay needs a tenth of the interactions or less.",
        "Kostrikov et al. 2019",
        "Yes on HalfCheetah by TD3. On Hopper by SAC it needs two fifths. Walker2d has not run.",
        _replayed,
        "#how-many-interactions",
    ),
    Claim(
        "The reward's sign decides what is learned; absorbing states mend that.",
        "Kostrikov et al. 2019",
        "The sign does; on-policy absorbing states do not mend it within the budget.",
        _cells(
            "absorbing",
            ("Hopper: -log D", "hopper-log_d-plain"),
            ("log(1 - D)", "hopper-log_1-d-plain"),
            ("-log D, absorbing", "hopper-log_d-absorbing"),
        ),
        "#the-sign-of-the-reward-and-absorbing-states",
    ),
    Claim(
        "Imitation works without the demonstrator's actions.",
        "Torabi et al. 2018",
        "Yes: hardly anything is lost.",
        _cells(
            "observation_only",
            ("Hopper: states", "hopper-states"),
            ("pairs", "hopper-state-action"),
            ("HalfCheetah: transitions", "halfcheetah-transitions"),
            ("pairs", "halfcheetah-state-action"),
        ),
        "#demonstrations-without-actions",
    ),
    Claim(
        "Failures, own successes, own best episodes and a learned model add up.",
        "no paper's",
        "No: no combination is better than GAIL or MAIL alone.",
        _cells("combinations", ("GAIL", "GAIL"), ("MAIL", "MAIL"), ("GAILFE by MAIL's step", "GAILFE x MAIL")),
        "#combinations",
    ),
    Claim(
        "An expert who can be asked makes cloning enough.",
        "Ross et al. 2011",
        "Yes, on all three tasks.",
        _cells(
            "gail_table",
            ("DAgger: Hopper", "hopper-dagger"),
            ("HalfCheetah", "halfcheetah-dagger"),
            ("Walker2d", "walker2d-dagger"),
        ),
        "#all-methods-on-few-demonstrations",
    ),
]


def claims() -> str:
    """Every claim with our answer, its numbers and where the rest is."""
    rows = [[c.text, c.paper, f"{c.answer} [More]({c.link})", c.number()] for c in CLAIMS]
    return markdown(["claim", "paper", "here", "share of the expert, where nothing else is said"], rows)


def _records(experiment: pathlib.Path) -> list[dict[str, Any]]:
    """Result files of cells that trained."""
    files = (json.loads(path.read_text()) for path in sorted(experiment.glob("*.json")))
    return [record for record in files if isinstance(record, dict) and "train_seconds_last_session" in record]


def costs() -> str:
    """What each experiment's training took on its machine."""
    rows, total = [], 0.0
    for experiment in sorted(RESULTS.iterdir()):
        records = _records(experiment)
        if not records:
            continue
        hours = [record["train_seconds_last_session"] * _cores(record) / 3600 for record in records]
        total += sum(hours)
        runs = sum(len(record["final_gymnasium_returns"]) for record in records)
        rows.append([f"`experiments/{experiment.name}.py`", str(len(records)), str(runs), f"{sum(hours):.1f}"])
    rows.append(["all", "", "", f"{total:.1f}"])
    return markdown(["experiment", "cells", "seeds trained", "core hours"], rows)


def _cores(record: dict[str, Any]) -> int:
    return record["provenance"]["hardware"]["cores"]


TABLES = {"claims": claims, "costs": costs}
