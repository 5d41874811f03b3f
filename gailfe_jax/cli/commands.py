"""The commands of `gailfe`: to add one, write its module and add its line here.

A command's module has `run(words) -> exit code`. Only the module of the command asked for is imported; this table
imports nothing, so that `gailfe --help` answers at once.
"""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """Where a command lives, and the line that `gailfe --help` shows for it."""

    module: str
    summary: str


COMMANDS = {
    "train": Command(
        "gailfe_jax.cli.train", "Train a policy by imitation, or on the true reward (ppo, trpo, sac, td3)."
    ),
    "sweep": Command("gailfe_jax.cli.sweep", "Train many settings with the same seeds and compare them."),
    "expert": Command("gailfe_jax.cli.expert", "Train an expert by PPO on the true reward and keep its best policy."),
    "demos": Command("gailfe_jax.cli.demos", "Roll an expert out and write demonstrations, with failed attempts."),
    "annotate": Command(
        "gailfe_jax.cli.annotate", "Label recorded episodes on a local page: good, failed, failed from."
    ),
    "evaluate": Command("gailfe_jax.cli.evaluate", "Evaluate a run's policies on fresh episodes."),
    "video": Command("gailfe_jax.cli.video", "Film a run's policy."),
    "play": Command("gailfe_jax.cli.play", "Show episodes in three dimensions on one page: policy, expert, failure."),
    "confidence": Command("gailfe_jax.cli.confidence", "Calibrate a run's discriminators as a measure of confidence."),
    "export": Command("gailfe_jax.cli.export", "Write a policy as ONNX, jax.export, NumPy or C, and check it."),
    "report": Command("gailfe_jax.cli.report", "Write one page about runs, sweeps or experiments, with charts."),
    "watch": Command("gailfe_jax.cli.watch", "Show the report of a run or a sweep in the browser while it trains."),
    "doctor": Command("gailfe_jax.cli.doctor", "Say what stands out in a run's metrics, and what to try."),
    "card": Command("gailfe_jax.cli.card", "Write a model card for a run, in Hugging Face's form."),
    "bench": Command("gailfe_jax.cli.bench", "Measure speed and memory beside the bare engine."),
    "algorithms": Command("gailfe_jax.cli.algorithms", "List the methods, and which parts go together."),
    "quickstart": Command("gailfe_jax.cli.quickstart", "Show everything on one task in a few minutes."),
}

# `main` takes these words out before the command reads the others, so that no command lists them among its settings.
IMPORT_HELP = "Every command takes --import MODULE (repeatable): it imports your own module or .py file first."
