"""Puts the page together: one file that loads nothing and runs no script but its own."""

from __future__ import annotations

import base64
import datetime
import itertools
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gailfe_jax.analysis.metrics import Metric
from gailfe_jax.analysis.state_space import StateSpace
from gailfe_jax.analysis.video import Film
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.atomic import write_text_atomic
from gailfe_jax.report import health, tables
from gailfe_jax.report.charts import MOST_SERIES, TaskPart, by_task, chart_data
from gailfe_jax.report.read import Series, read_series
from gailfe_jax.web.markup import Markup, join, table, tag
from gailfe_jax.web.page import BASE_SCRIPT, BASE_STYLE, UPLOT, UPLOT_STYLE, one_file

NAME = "report.html"
_SPACE = (
    "Each point is a pair of an observation and an action, in the plane of the two directions in which "
    "observations vary most. The discriminator takes blue pairs for the expert's, orange ones for the policy's, "
    "and grey ones for either's. Where both pictures are grey, the policy cannot be told from the expert any "
    "more; where the right one is orange, the policy still goes where the expert does not."
)
_LINKS = {"health": "What stands out", "settings": "Settings", "provenance": "Where it comes from"}
_NOTHING = "There is no evaluation yet. The first one brings the curves."
_CELLS = 3
"""Of the table of the state space, both ways."""
STYLES = (UPLOT_STYLE, BASE_STYLE, "gailfe_jax.report:page/report.css")
SCRIPTS = (UPLOT, BASE_SCRIPT, "gailfe_jax.report:page/scatter.js", "gailfe_jax.report:page/report.js")
LIVE_SCRIPTS = (*SCRIPTS, "gailfe_jax.report:page/watch.js")


class Live(NamedTuple):
    """How far a run is while it is watched.

    Attributes:
      stamp: another one where the page has changed.
      said: in words.
    """

    stamp: str
    said: str


def write_report(
    paths: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    title: str | None = None,
    spaces: Mapping[pathlib.Path, StateSpace | str] | None = None,
    films: Mapping[pathlib.Path, Sequence[Film] | str] | None = None,
) -> pathlib.Path:
    """Writes the page about runs, sweeps and experiments, whole or not at all; returns its path.

    Args:
      paths: run folders, sweep folders, experiments' result files or folders of them.
      out: the file.
      title: its heading; the names of the paths if None.
      spaces: by run folder, where its discriminator tells the policy from the expert, or why that is not shown.
      films: by run folder, films of its policy, or why there are none.

    Raises:
      GailfeError: nothing to report at a path, or a damaged record.
      OSError: the file cannot be written.
    """
    found = read_series(paths)
    title = title or ", ".join(pathlib.Path(path).resolve().name for path in paths)
    out = pathlib.Path(out)
    write_text_atomic(out, render(found, title, spaces or {}, films or {}))
    return out


def render(
    found: Sequence[Series],
    title: str,
    spaces: Mapping[pathlib.Path, StateSpace | str],
    films: Mapping[pathlib.Path, Sequence[Film] | str],
    live: Live | None = None,
) -> str:
    """The text of the page, see `write_report`; one that renews itself where it is `live`."""
    parts = by_task(found)
    data = chart_data(parts)
    sections = [
        None if parts or live is None else tag("p", _NOTHING, class_="waits", id="task-0"),
        *(
            _task_section(number, part, data["every"], len(parts) > 1, live is not None)
            for number, part in enumerate(parts)
        ),
        _health_section(found),
        _film_section(found, films),
        _space_section(found, spaces),
        _settings_section(found),
        _section("provenance", "Where it comes from", tables.facts(found)),
    ]
    spread = [_space_data(space) for space in spaces.values() if isinstance(space, StateSpace)]
    return one_file(
        f"{'Report' if live is None else 'Watch'}: {title}",
        [
            tag("a", "Skip to the results", href="#task-0", class_="skip"),
            _header(found, title, live),
            tag("main", *sections),
        ],
        styles=STYLES,
        scripts=SCRIPTS if live is None else LIVE_SCRIPTS,
        data=data | {"spaces": spread} | ({} if live is None else {"stamp": live.stamp}),
        connects=live is not None,
    )


def _header(found: Sequence[Series], title: str, live: Live | None) -> Markup:
    tasks = list(dict.fromkeys(series.task for series in found))
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    said = f"{len(found)} series on {', '.join(tasks[:6])}{' and others' if len(tasks) > 6 else ''}. " if tasks else ""
    said += f"Written {now}."
    links = [tag("a", task, href=f"#task-{number}") for number, task in enumerate(tasks)]
    links += [
        tag("a", words, href=f"#{name}")
        for name, words in _LINKS.items()
        if name != "health" or any(series.folder is not None for series in found)
    ]
    return tag(
        "header",
        tag("h1", title),
        tag("p", said),
        None if live is None else tag("p", live.said, id="live", role="status"),
        tag("nav", tag("ul", *(tag("li", link) for link in links)), aria_label="On this page"),
        tag("noscript", tag("p", "The charts need JavaScript; the tables do not.")),
    )


def _section(name: str, title: str, *children: Any) -> Markup:
    return tag("section", tag("h2", title, id=f"{name}-title"), *children, id=name, aria_labelledby=f"{name}-title")


def _task_section(number: int, part: TaskPart, every: int, several: bool, live: bool) -> Markup:
    content: list[Any] = [tables.results(part)]
    notes = [
        "Final values and means over training are interquartile means over seeds, with 95% bootstrap intervals. With "
        "few seeds such an interval is too narrow."
    ]
    if len([series for series in part.series if series.curves]) > len(part.drawn):
        notes.append(f"The charts show the best {MOST_SERIES} of {len(part.series)}.")
    if every > 1:
        notes.append(f"Of every {every} evaluations one is drawn.")
    content.append(tag("p", " ".join(notes), class_="quiet"))
    if part.drawn:
        content += [
            tag("div", id=f"controls-{number}", class_="controls"),
            _chart(number, 0, part.judged, part),
            *_groups(number, part),
        ]
    elif live or any(series.folder is not None for series in part.series):
        content.append(tag("p", _NOTHING, class_="waits"))
    return _section(f"task-{number}", part.task if several else f"Results on {part.task}", *content)


def _groups(number: int, part: TaskPart) -> list[Markup]:
    made, index = [], 0
    for group in part.groups:
        charts = []
        for metric in group.metrics:
            index += 1
            charts.append((metric, _chart(number, index, metric, part)))
        main = [chart for metric, chart in charts if metric.main]
        more = [chart for metric, chart in charts if not metric.main]
        folded = tag("details", tag("summary", f"More: {group.title.lower()}"), tag("div", *more, class_="charts"))
        made.append(
            join(
                tag("h3", group.title),
                tag("div", *main, class_="charts") if main else None,
                folded if more else None,
            )
        )
    return made


def _chart(task: int, chart: int, metric: Metric, part: TaskPart) -> Markup:
    band = "mean over seeds; band: from the least to the greatest"
    if chart == 0:
        band = "interquartile mean over seeds; band: 95% bootstrap interval"
    name = f"chart-{task}-{chart}"
    title = tag("h3" if chart == 0 else "h4", metric.title, id=f"{name}-title")
    return tag(
        "div",
        title,
        tag("p", metric.how, class_="how") if metric.how else None,
        tag(
            "div",
            id=name,
            class_="chart",
            data_task=task,
            data_chart=chart,
            data_title=f"{metric.title} on {part.task}",
        ),
        tag("p", band, class_="quiet band"),
        class_="figure judged" if chart == 0 else "figure",
    )


def _settings_section(found: Sequence[Series]) -> Markup:
    every = [tag("details", tag("summary", series.label), tables.settings(series)) for series in found[:MOST_SERIES]]
    more = len(found) - len(every)
    return _section(
        "settings",
        "Settings",
        tag("h3", "How they differ"),
        tables.differing(found),
        tag("h3", "All settings"),
        *every,
        tag("p", f"Those of {more} more are left out.", class_="quiet") if more else None,
    )


def _health_section(found: Sequence[Series]) -> Markup | None:
    """The doctor's findings on each run, or why there are none."""
    runs = [(series.label, series.folder) for series in found if series.folder is not None]
    if not runs:
        return None
    parts: list[Any] = []
    for label, folder in runs[:MOST_SERIES]:
        try:
            held = tables.findings(health.examine_folder(folder), label)
        except GailfeError as error:
            held = tag("p", f"Not shown: {error}.")
        parts += [tag("h3", label), held]
    more = len(runs) - MOST_SERIES
    left = tag("p", f"Those of {more} more are left out; gailfe doctor has them.", class_="quiet") if more > 0 else None
    return _section("health", "What stands out", tag("p", health.HOW, class_="how"), *parts, left)


def _of_each(
    found: Sequence[Series], held: Mapping[pathlib.Path, Any], shown: Callable[[Series, Any], list[Markup]]
) -> list[Markup]:
    """What is held of each run, under its name: as it is `shown`, or the words that stand in its place."""
    parts: list[Markup] = []
    for series in found:
        own = held.get(series.folder) if series.folder is not None else None
        if own is not None:
            parts.append(tag("h3", series.label))
            parts += [tag("p", own)] if isinstance(own, str) else shown(series, own)
    return parts


def _film_section(found: Sequence[Series], films: Mapping[pathlib.Path, Sequence[Film] | str]) -> Markup | None:
    if not films:
        return None

    def shown(series: Series, own: Sequence[Film]) -> list[Markup]:
        return [tag("div", *(_film(film, series) for film in own), class_="films")]

    return _section("films", "Films", *_of_each(found, films, shown))


def _film(film: Film, series: Series) -> Markup:
    source = f"data:video/mp4;base64,{base64.b64encode(film.content).decode()}"
    said = f"{film.words} of {film.of} episodes: return {film.episode_return:,.1f}"
    video = tag("video", controls=True, preload="metadata", playsinline=True, loop=True, src=source,
                aria_label=f"{series.label}, {said}")  # fmt: skip
    return tag("figure", video, tag("figcaption", said))


def _space_section(found: Sequence[Series], spaces: Mapping[pathlib.Path, StateSpace | str]) -> Markup | None:
    if not spaces:
        return None
    index = itertools.count()
    parts = _of_each(found, spaces, lambda _, space: _space(next(index), space))
    how = tag("p", _SPACE, class_="how")
    return _section("space", "Where the discriminator tells policy from expert", how, *parts)


def _space(index: int, space: StateSpace) -> list[Markup]:
    axes = [
        f"{'Horizontal' if number == 0 else 'Vertical'}: {axis.share:.0%} of the variance, mostly "
        + ", ".join(f"{weight:+.2f} {name}" for name, weight in axis.parts)
        for number, axis in enumerate(space.axes)
    ]
    told = (
        f"{space.about}. It takes {space.expert_found:.0%} of the demonstrated pairs for the expert's and "
        f"{space.policy_found:.0%} of the policy's for the policy's; 50% of each is chance. "
    )
    told += "" if space.calibrated else "Its probabilities are not calibrated (gailfe confidence does that)."
    pictures = [
        tag(
            "figure",
            tag("canvas", id=f"space-{index}-{kind}", class_="space", role="img", width=480, height=360,
                aria_label=f"{words}; the table below has the numbers"),
            tag("figcaption", words),
        )
        for kind, words in (("expert", "Demonstrations"), ("policy", "Policy"))
    ]  # fmt: skip
    return [
        tag("p", told),
        tag("div", *pictures, class_="spaces"),
        tag("p", id=f"space-{index}-said", class_="readout"),
        tag("p", axes[0], tag("br"), axes[1], class_="quiet"),
        tag("details", tag("summary", "As a table"), _space_table(space)),
    ]


def _space_table(space: StateSpace) -> Markup:
    edges = [np.quantile(space.points[:, axis], np.linspace(0, 1, _CELLS + 1)[1:-1]) for axis in (0, 1)]
    column, row = (np.searchsorted(edge, space.points[:, axis]) for axis, edge in enumerate(edges))
    sides = (("left", "middle", "right"), ("bottom", "middle", "top"))
    rows: list[list[Any]] = []
    for y in reversed(range(_CELLS)):
        for x in range(_CELLS):
            inside = (column == x) & (row == y)
            cells = []
            for kind in (~space.is_policy, space.is_policy):
                held = space.expert_probability[inside & kind]
                cells += [f"{len(held)}", f"{held.mean():.2f}" if len(held) else "-"]
            rows.append([f"{sides[1][y]} {sides[0][x]}", *cells])
    header = ["Part of the picture", "Expert's pairs", "their probability", "Policy's pairs", "their probability"]
    return table(header, rows, "Mean probability of being the expert's")


def _space_data(space: StateSpace) -> dict[str, Any]:
    def rounded(values: np.ndarray) -> list[float]:
        return [float(f"{value:.3g}") for value in values.tolist()]

    return {
        "x": rounded(space.points[:, 0]),
        "y": rounded(space.points[:, 1]),
        "probability": [round(float(p), 3) for p in space.expert_probability],
        "policy": [int(is_policy) for is_policy in space.is_policy],
    }
