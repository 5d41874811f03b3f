"""A model card for a run folder, in Hugging Face's form: results, command, data and limits.

All of it comes from the run's own records. Nothing is sent anywhere.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from gailfe_jax.analysis.statistics import bootstrap_interval
from gailfe_jax.apps.export import meaning_or_unknown
from gailfe_jax.envs.meaning import Meaning
from gailfe_jax.errors import GailfeError, one_line
from gailfe_jax.io.atomic import write_text_atomic
from gailfe_jax.nn.constants import OBS_CLIP
from gailfe_jax.training.chosen import EVALUATION, Chosen, choose_policy, fresh_evaluation
from gailfe_jax.training.logger import read_metrics
from gailfe_jax.training.outcome import read_summary
from gailfe_jax.training.run_folder import load_run, policy_files

_MOST_ROWS = 400
"""Numbers of an observation that are listed one by one."""
_FEW_SEEDS, _FEW_EPISODES = 5, 20


def write_card(
    run_dir: str | pathlib.Path,
    *,
    out: str | pathlib.Path | None = None,
    seed: int | None = None,
    name: str | None = None,
    license: str | None = None,
    overwrite: bool = False,
) -> pathlib.Path:
    """Writes a run's model card; returns its path.

    Args:
      run_dir: the run folder.
      out: the file; README.md in the run folder by default.
      seed: whose policy the card's example loads; by default the best (see `gailfe_jax.training.chosen`).
      name: what the card calls the model; by default method and task.
      license: of the model, as Hugging Face writes it (`apache-2.0`); none is written by default.
      overwrite: replace an existing file.

    Raises:
      GailfeError: no such run or no policies in it, a damaged record, or `out` is taken.
    """
    run_dir = pathlib.Path(run_dir)
    path = run_dir / "README.md" if out is None else pathlib.Path(out)
    if path.is_dir() or (path.exists() and not overwrite):
        raise GailfeError(f"out: {path} exists; expected another --out, or --overwrite")
    record = load_run(run_dir)
    write_text_atomic(path, card(run_dir, record, seed, name, license))
    return path


def card(
    run_dir: pathlib.Path,
    record: Mapping[str, Any],
    seed: int | None = None,
    name: str | None = None,
    license: str | None = None,
) -> str:
    """The text of a run's model card.

    Args:
      run_dir: the run folder.
      record: what `load_run` returns.
      seed, name, license: see `write_card`.
    """
    chosen = choose_policy(run_dir, seed)
    metadata = chosen.policy.metadata
    task = metadata.get("task", metadata.get("env", "unknown"))
    algo = str(record.get("algo", metadata.get("algo", "unknown")))
    title = one_line(name or f"{algo} on {task}")
    results, summary = _Results(run_dir, chosen), read_summary(run_dir)
    parts = [
        _front_matter(title, algo, task, license, results),
        f"# {_plain(title)}\n",
        _opening(algo, task, chosen, results),
        "## Results\n",
        results.table(),
        "## How it was made\n",
        _made(record, summary),
        "## Data\n",
        _data(record.get("demos", {})),
        "## What goes in and out\n",
        _contract(chosen, meaning_or_unknown(run_dir, chosen.policy)),
        "## Use\n",
        _use(chosen),
        "## Limits\n",
        _limits(run_dir, record, summary, chosen, results),
    ]
    return "\n".join(parts)


class _Results:
    """What is known of how the run's policies do: `gailfe evaluate`'s report, else the run's last evaluation.

    Attributes:
      report: of `gailfe evaluate`, or None.
      rows: `(seed, column -> number)` of each seed.
      episodes: behind each row; None where that is not recorded.
      task: what they were evaluated in.
    """

    def __init__(self, run_dir: pathlib.Path, chosen: Chosen):
        self.report = fresh_evaluation(run_dir)
        metadata = chosen.policy.metadata
        self.task = metadata.get("task", metadata.get("env", "unknown"))
        if self.report is not None:
            self.episodes = self.report.get("episodes")
            self.task = self.report.get("gymnasium_id") or self.report.get("env") or self.task
            columns = {
                "mean": "return", "std": "std", "length": "length", "falls": "falls", "expert_normalised": "of expert",
            }  # fmt: skip
            distance = {"distance": "distance to the demonstrations"}
            self.rows = [
                (row.get("seed"), _numbers(row, columns) | _numbers(_mapping(row.get("demos")), distance))
                for row in self.report["seeds"]
            ]
            return
        file = run_dir / "metrics.jsonl"
        last = {line["seed"]: line for line in (read_metrics(file) if file.is_file() else [])}
        self.episodes = load_run(run_dir)["run"].get("eval_episodes")
        columns = {
            "return_mean": "return", "return_std": "std", "length_mean": "length", "expert_normalised": "of expert",
            "demo_distance": "distance to the demonstrations",
        }  # fmt: skip
        self.rows = [(seed, _numbers(line, columns)) for seed, line in last.items() if seed in policy_files(run_dir)]

    @property
    def returns(self) -> list[float]:
        """The mean returns of the seeds, as far as they are known."""
        return [row["return"] for _, row in self.rows if "return" in row]

    @property
    def source(self) -> str:
        """Where the numbers are from, in words."""
        episodes = "" if self.episodes is None else f", {self.episodes} fresh episodes per seed"
        if self.report is None:
            return f"the run's own last evaluation{episodes}"
        return f"`gailfe evaluate` ({EVALUATION}){episodes}, backend {self.report.get('backend')}"

    def table(self) -> str:
        """The results as Markdown."""
        if not self.rows:
            return "None recorded.\n"
        names = [name for name in _COLUMNS if any(name in row for _, row in self.rows)]
        lines = ["| " + " | ".join(["seed", *names]) + " |", "| " + " | ".join(["---"] * (1 + len(names))) + " |"]
        for seed, row in self.rows:
            cells = [_COLUMNS[name].format(row[name]) if name in row else "-" for name in names]
            lines.append("| " + " | ".join([str(seed), *cells]) + " |")
        said = f"Deterministic policies: {self.source}."
        if len(self.returns) > 1:
            interval = bootstrap_interval(np.array(self.returns))
            said += (
                f" Over seeds, the interquartile mean of the returns is {interval.estimate:.4g}, its 95% bootstrap "
                f"interval {interval.low:.4g} to {interval.high:.4g}."
            )
        return "\n".join([*lines, "", said, ""])


_COLUMNS = {
    "return": "{:.4g}", "std": "{:.3g}", "length": "{:.0f}", "falls": "{:.2f}", "of expert": "{:.2f}",
    "distance to the demonstrations": "{:.3g}",
}  # fmt: skip


def _numbers(row: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, float]:
    return {word: row[name] for name, word in columns.items() if _is_number(row.get(name))}


def _mapping(value: Any) -> Mapping[str, Any]:
    """A part of a record, empty where somebody has put something else there."""
    return value if isinstance(value, Mapping) else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def _front_matter(title: str, algo: str, task: str, license: str | None, results: _Results) -> str:
    """The card's head in YAML, for which every JSON text is one."""
    tags = ["reinforcement-learning", "imitation-learning", "gailfe-jax", algo, task]
    lines = ["---", "library_name: gailfe-jax", "pipeline_tag: reinforcement-learning"]
    lines += [] if license is None else [f"license: {json.dumps(one_line(license))}"]
    lines += ["tags:", *(f"- {json.dumps(tag)}" for tag in dict.fromkeys(tags))]
    if results.returns:
        mean, spread = float(np.mean(results.returns)), float(np.std(results.returns))
        lines += [
            "model-index:",
            f"- name: {json.dumps(title)}",
            "  results:",
            "  - task:",
            "      type: reinforcement-learning",
            "      name: reinforcement-learning",
            "    dataset:",
            f"      name: {json.dumps(results.task)}",
            f"      type: {json.dumps(results.task)}",
            "    metrics:",
            "    - type: mean_reward",
            f"      value: {json.dumps(f'{mean:.2f} +/- {spread:.2f}')}",
            f"      name: {json.dumps(f'mean return, over {len(results.returns)} seeds')}",
            "      verified: false",
        ]
    return "\n".join([*lines, "---", ""])


def _opening(algo: str, task: str, chosen: Chosen, results: _Results) -> str:
    of = f"{len(results.rows)} seeds" if len(results.rows) > 1 else "one seed"
    kind = "which chooses among actions" if chosen.policy.discrete else "with continuous actions"
    return (
        f"A policy for `{_plain(task)}`, {kind}, by the method `{_plain(algo)}` of gailfe_jax; {of}. "
        f"Where one policy is meant, it is that of {chosen.why}.\n"
    )


def _made(record: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    made = _mapping(record.get("provenance"))
    hardware, versions = _mapping(made.get("hardware")), _mapping(made.get("versions"))
    cores = f"{hardware.get('cores')} cores" if hardware else None
    lines = [f"```\n{str(made.get('command', 'unknown')).replace('```', '')}\n```", ""]
    rows = [
        ("steps of each seed", summary.get("steps")),
        ("finished", {True: "yes", False: "no, it was interrupted"}.get(summary.get("finished"))),  # type: ignore[arg-type]
        ("engine", record.get("engine")),
        ("wall time, seconds", _shown(summary.get("wall_seconds"))),
        ("date", made.get("date")),
        ("commit", _mapping(made.get("git")).get("commit")),
        (
            "processor",
            _joined([hardware.get("cpu"), cores, *(hardware.get("accelerators") or [])]),
        ),
        ("versions", _joined(f"{name} {version}" for name, version in versions.items())),
        ("resumed", len(record.get("resumed", [])) or None),
    ]
    lines += _table(rows)
    lines += ["All settings are in `config.json`.", ""]
    return "\n".join(lines)


def _data(demos: Mapping[str, Any]) -> str:
    made = _mapping(demos.get("provenance"))
    if demos.get("demos") is None and not made and "content_sha256" not in demos:
        return "No demonstrations: the method learns from the task's own reward, or from itself.\n"
    if "expert_pairs" not in demos:
        rows = [
            ("expert that was asked", _file(demos.get("expert")) or "the one shipped for the task"),
            ("its return", _shown(demos.get("expert_return"))),
            ("SHA-256 of its content", demos.get("content_sha256")),
        ]
        return "\n".join(["No demonstrations: an expert labelled what the policy visited.", "", *_table(rows)])
    rows = [
        ("file", _file(demos.get("demos")) or "in memory"),
        ("SHA-256", demos.get("sha256")),
        ("trajectories", demos.get("expert_trajectories")),
        ("state-action pairs", demos.get("expert_pairs")),
        ("one pair kept in", demos.get("subsample")),
        ("demonstrated return", _shown(demos.get("demonstrated_return"))),
        ("expert's return", _shown(demos.get("expert_return"))),
        ("failures", demos.get("collected_failures")),
        ("annotator of failures", demos.get("annotator")),
        ("shown by", _file(made.get("expert"))),
        ("its actions", made.get("action_mode")),
        ("engine", made.get("engine")),
        ("recorded", made.get("created")),
        ("command", made.get("command")),
    ]
    return "\n".join(_table(rows))


def _contract(chosen: Chosen, meaning: Meaning) -> str:
    policy = chosen.policy
    lines = [f"{policy.obs_size} numbers go in, in this order:", ""]
    if policy.obs_size <= _MOST_ROWS:
        lines += ["| | name | unit |", "| --- | --- | --- |"]
        lines += [f"| {i} | `{_plain(name)}` | {_plain(unit)} |" for i, (name, unit) in enumerate(meaning.obs)]
    else:
        lines += ["`gailfe export` lists them."]
    lines += [""]
    if policy.discrete:
        lines += ["One of these choices comes out, as a number counted from 0:", "", "| | choice |", "| --- | --- |"]
        lines += [f"| {i} | `{_plain(name)}` |" for i, (name, _) in enumerate(meaning.action)]
    else:
        lines += [f"{policy.action_size} numbers come out:", "", "| | name | unit of 1 | least | greatest |"]
        lines += ["| --- | --- | --- | --- | --- |"]
        for i, (name, unit) in enumerate(meaning.action):
            low, high = policy.action_low[i], policy.action_high[i]
            lines.append(f"| {i} | `{_plain(name)}` | {_plain(unit)} | {low:g} | {high:g} |")
    if meaning.seconds_per_step is not None:
        lines += ["", f"An action is held for {meaning.seconds_per_step:g} seconds."]
    return "\n".join([*lines, ""])


def _use(chosen: Chosen) -> str:
    file = f"policies/{chosen.file.name}"
    return f"""`pip install --no-deps gailfe-jax numpy safetensors` is enough to act; neither JAX nor MuJoCo is needed.

```python
import numpy as np

from gailfe_jax.policy import Policy

policy = Policy.load("{file}")
action = policy.act(np.zeros({chosen.policy.obs_size}))
```

`gailfe export . --to onnx` (or `jax`, `numpy`, `c`) writes it for places without this package.
"""


def _limits(
    run_dir: pathlib.Path,
    record: Mapping[str, Any],
    summary: Mapping[str, Any],
    chosen: Chosen,
    results: _Results,
) -> str:
    demos = record.get("demos", {})
    seeds, episodes = len(results.rows), results.episodes
    limits = [
        f"All numbers are from simulation (engine {record.get('engine')}); this record knows of no run on a robot.",
        "The numbers are those of the deterministic action.",
        f"Observations are clipped at {OBS_CLIP:g} standard deviations of those in training. Beyond them, and wherever "
        "training did not lead, what the policy does is not known.",
    ]
    if seeds < _FEW_SEEDS:
        limits.append(f"{seeds} seed{'s say' if seeds != 1 else ' says'} little of how results vary between trainings.")
    if len(policy_files(run_dir)) > 1:
        limits.append(
            "The policy that is named above was chosen by the same evaluation, so its own number is optimistic."
        )
    if isinstance(episodes, int | float) and episodes < _FEW_EPISODES:
        limits.append(f"{episodes} episodes per seed are few.")
    falls = [row["falls"] for _, row in results.rows if "falls" in row]
    if falls and max(falls) > 0:
        limits.append(f"Up to {max(falls):.0%} of a seed's episodes end in what the task counts as a fall.")
    if "expert_pairs" in demos:
        limits.append("It imitates: it has learned the demonstrations' faults, too, and aims at nothing beyond them.")
    if demos.get("annotator_reads_reward") or demos.get("success_reads_reward"):
        limits.append("What counted as a failure or success was read off the true reward, which imitation has not got.")
    if summary.get("finished") is False:
        limits.append("The run was interrupted before its last step.")
    if (run_dir / EVALUATION).is_file() and results.report is None:
        limits.append(f"{EVALUATION} is older than the policies, or damaged, and was left out.")
    if not results.returns:
        limits.append("No return is known, for the task has no reward or nothing was evaluated.")
    return "\n".join([*(f"- {limit}" for limit in limits), ""])


def _table(rows: Iterable[tuple[str, Any]]) -> list[str]:
    """A table of those rows that have a value."""
    kept = [f"| {name} | {_plain(str(value))} |" for name, value in rows if value not in (None, "")]
    return ["| | |", "| --- | --- |", *kept, ""]


def _shown(value: Any) -> str | None:
    return f"{value:.5g}" if _is_number(value) else None


def _file(value: Any) -> str | None:
    """A file by its own name: where it lies is nobody's business."""
    return pathlib.Path(value).name if isinstance(value, str) else None


def _joined(words: Iterable[Any]) -> str:
    return ", ".join(str(word) for word in words if word)


def _plain(text: str) -> str:
    """A text on one line, of which no sign is one of Markdown's tables, code or HTML."""
    return one_line(text).replace("|", "/").replace("`", "'").replace("<", "(").replace(">", ")")
