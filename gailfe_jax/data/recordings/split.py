"""Columns made into episodes: one that is one, or many in a row."""

from __future__ import annotations

import itertools

import numpy as np

from gailfe_jax.data.episodes import CUT, OVER, UNKNOWN, Episode
from gailfe_jax.data.recordings.fields import Columns, Request, as_flags
from gailfe_jax.errors import GailfeError

_MARKS = ("terminated", "truncated", "done")


def one_episode(columns: Columns, request: Request, notes: list[str], name: str = "") -> Episode:
    """All rows as one episode.

    Raises:
      GailfeError: observations or actions are missing, or a mark ends the episode in its midst.
    """
    obs, action = columns.must(request, "obs", notes), columns.actions(request, notes)
    optional = {field: columns.array(request, field, notes) for field in ("next_obs", "reward", "simulator_state")}
    steps = _unacted_rows(columns, request, optional, len(obs)) if action is None else len(action)
    marks = {field: marks for field in _MARKS if (marks := _marks(columns, request, field, notes, steps)) is not None}
    for field, mark in marks.items():
        if mark[:-1].any():
            raise GailfeError(
                f"{columns.where}: field '{field}': it ends at step {int(np.argmax(mark))} of {steps}, inside it"
            )
    label = columns.label(request)
    return Episode(
        obs, action, **optional, end=_end(marks, steps - 1), failed=_failed(columns, request, label), name=name
    )  # fmt: skip


def split(columns: Columns, request: Request, notes: list[str]) -> list[Episode]:
    """Rows of many episodes, one after the other.

    Where each ends is told by, in this order: a column that numbers the episodes; where they start or end, counted in
    rows; marks in the rows; observations that do not follow on one another; the time limit. Without any of them all
    rows are one episode. Arrays of three dimensions hold an episode in each of their first.

    Raises:
      GailfeError: observations or actions are missing, or arrays that do not fit one another.
    """
    obs, action = np.asarray(columns.must(request, "obs", notes)), columns.actions(request, notes)
    action = None if action is None else np.asarray(action)
    fields = ("next_obs", "reward", "simulator_state")
    optional = {field: columns.array(request, field, notes) for field in fields}
    label = columns.label(request)
    if obs.ndim == 3 and (action is None or action.ndim in (2, 3)):
        return _stacked(columns, request, notes, obs, action, optional, label)
    rows = len(obs) if action is None else len(action)
    for field, array in (("obs", obs), *optional.items()):
        if array is not None and len(array) != rows:
            of = "obs" if action is None else "action"
            raise GailfeError(f"{columns.where}: field '{field}': {len(array)} rows, expected the {rows} of '{of}'")
    marks = {field: marks for field in _MARKS if (marks := _marks(columns, request, field, notes, rows)) is not None}
    bounds, order = _bounds(columns, request, notes, rows, marks, obs, optional["next_obs"])
    if order is not None:
        obs, action = obs[order], None if action is None else action[order]
        label = None if label is None else np.asarray(label)[order]
        optional = {field: None if array is None else array[order] for field, array in optional.items()}
        marks = {field: mark[order] for field, mark in marks.items()}
    if label is not None and len(label) not in (rows, len(bounds) - 1):
        raise GailfeError(f"{columns.where}: field {request.label!r}: {len(label)} rows, expected {rows}")
    episodes = []
    for number, (start, stop) in enumerate(itertools.pairwise(bounds.tolist())):
        at = slice(start, stop)
        chosen = None if label is None else label[at] if len(label) == rows else label[number : number + 1]
        episodes.append(
            Episode(
                obs[at],
                None if action is None else action[at],
                **{field: None if array is None else array[at] for field, array in optional.items()},
                end=_end(marks, stop - 1),
                failed=_failed(columns, request, chosen),
                name=f"episode {number}",
            )
        )
    return episodes


def _stacked(
    columns: Columns,
    request: Request,
    notes: list[str],
    obs: np.ndarray,
    action: np.ndarray | None,
    optional: dict,
    label: object,
) -> list[Episode]:
    """Episodes side by side, `[k, T, ...]`, each up to the first mark that ends it."""
    count = len(obs) if action is None else len(action)
    steps = _unacted_rows(columns, request, optional, obs.shape[1], axis=1) if action is None else action.shape[1]
    marks = {}
    for field in _MARKS:
        found = columns.array(request, field, notes)
        if found is not None:
            if found.shape[:2] != (count, steps):
                shape = list(found.shape)
                raise GailfeError(
                    f"{columns.where}: field '{field}': shape {shape}, expected {[count, steps]} as of 'action'"
                )
            marks[field] = np.asarray(found).reshape(count, steps) != 0
    for field, array in (("obs", obs), *optional.items()):
        if array is not None and (array.ndim < 2 or len(array) != count or array.shape[1] not in (steps, steps + 1)):
            raise GailfeError(
                f"{columns.where}: field '{field}': shape {list(array.shape)}, expected {[count, steps]} as of 'action'"
            )
    labels = None if label is None else np.asarray(label)
    if labels is not None and len(labels) != count:
        raise GailfeError(f"{columns.where}: field {request.label!r}: {len(labels)} rows, expected {count}")
    episodes = []
    for i in range(count):
        over = np.logical_or.reduce([mark[i] for mark in marks.values()]) if marks else np.zeros(steps, bool)
        stop = int(np.argmax(over)) + 1 if over.any() else steps
        episodes.append(
            Episode(
                obs[i, : min(stop + 1, obs.shape[1])],
                None if action is None else action[i, :stop],
                **{field: None if array is None else array[i, :stop] for field, array in optional.items()},
                end=_end({field: mark[i] for field, mark in marks.items()}, stop - 1),
                failed=_failed(columns, request, None if labels is None else labels[i]),
                name=f"episode {i}",
            )
        )
    return episodes


def _unacted_rows(columns: Columns, request: Request, optional: dict, rows: int, axis: int = 0) -> int:
    """How many steps there are without actions: as many as `rows` observed, or one fewer, as other columns say."""
    for field in ("next_obs", "reward", *_MARKS):
        array = optional[field] if field in optional else columns.array(request, field, [])
        if array is not None and np.ndim(array) > axis and np.shape(array)[axis] in (rows, rows - 1):
            return np.shape(array)[axis]
    return max(rows - 1, 0)


def _marks(columns: Columns, request: Request, field: str, notes: list[str], rows: int) -> np.ndarray | None:
    """`[rows]` bool; a single mark says how the last row ended."""
    found = columns.array(request, field, notes)
    if found is None:
        return None
    marks = np.atleast_1d(as_flags(columns.where, field, found))
    if marks.shape == (1,) and rows > 1:
        last = np.zeros(rows, bool)
        last[-1] = marks[0]
        return last
    if len(marks) != rows:
        raise GailfeError(f"{columns.where}: field '{field}': {len(marks)} rows, expected the {rows} of 'action'")
    return marks


def _end(marks: dict[str, np.ndarray], row: int) -> str:
    for field in ("terminated", "truncated"):
        if field in marks and marks[field][row]:
            return field
    if "done" in marks and marks["done"][row]:
        return OVER
    return CUT if marks else UNKNOWN


def _failed(columns: Columns, request: Request, label: np.ndarray | None) -> bool | None:
    if label is None:
        return None
    held = bool(as_flags(columns.where, str(request.label), label).any())
    return held if request.label_means_failed else not held


def _bounds(
    columns: Columns,
    request: Request,
    notes: list[str],
    rows: int,
    marks: dict[str, np.ndarray],
    obs: np.ndarray,
    next_obs: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """`[k + 1]` rows where episodes begin and end, and the order of rows in which they do; None as they are."""
    numbers = columns.array(request, "episode", notes)
    if numbers is not None:
        return _numbered(columns, request, notes, rows, np.asarray(numbers).reshape(len(numbers), -1))
    if rows == 0:
        return np.zeros(1, np.int64), None
    for field, read in (("offsets", _offsets), ("ends", _ends), ("starts", _starts)):
        found = columns.array(request, field, notes)
        if found is not None:
            return _counted(columns.where, field, np.asarray(found), rows, read), None
    after = np.zeros(rows, bool)
    for mark in marks.values():
        after |= mark
    told = bool(marks) and ("truncated" in marks or "done" in marks)
    if not told and next_obs is not None and next_obs.shape == obs.shape:
        jumps = (next_obs[:-1] != obs[1:]).any(axis=1) & ~after[:-1]
        if jumps.any():
            notes.append(f"episodes: {int(jumps.sum())} more ends, where an observation does not follow the one before")
        after[:-1] |= jumps
    elif not told and request.time_limit is not None:
        limited = _limited(after, request.time_limit)
        if limited:
            notes.append(
                f"episodes: {limited} more ends, where the {request.time_limit} steps of the time limit are over"
            )
    elif not told:
        what = "no mark of a time limit" if marks else "nothing that tells episodes apart"
        notes.append(f"episodes: {what} in it; --env would give the time limit")
    after[-1] = True
    return np.concatenate([[0], np.flatnonzero(after) + 1]), None


def _limited(after: np.ndarray, limit: int) -> int:
    """Sets an end wherever an episode reaches the limit; how many."""
    count, start = 0, 0
    for stop in [*(np.flatnonzero(after) + 1).tolist(), len(after)]:
        for row in range(start + limit, stop, limit):
            after[row - 1] = True
            count += 1
        start = stop
    return count


def _numbered(
    columns: Columns, request: Request, notes: list[str], rows: int, numbers: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Episodes by the numbers of their rows; rows are put into the order of their steps where these are there."""
    if numbers.shape != (rows, 1):
        shape = list(numbers.shape)
        raise GailfeError(f"{columns.where}: field 'episode': shape {shape}, expected one number for {rows} rows")
    number = numbers[:, 0]
    step = columns.array(request, "step", notes)
    order = None
    if step is not None:
        step = np.asarray(step).reshape(len(step), -1)[:, 0]
        if len(step) != rows:
            raise GailfeError(f"{columns.where}: field 'step': {len(step)} rows, expected {rows}")
        order = np.lexsort((step, number))
        if (order == np.arange(rows)).all():
            order = None
        else:
            notes.append("episodes: rows put into the order of their steps")
            number, step = number[order], step[order]
        twice = (number[1:] == number[:-1]) & (step[1:] <= step[:-1])
        if twice.any():
            row = int(np.argmax(twice))
            raise GailfeError(
                f"{columns.where}: field 'step': step {step[row]:g} of episode {number[row]:g} is there twice"
            )
    changes = np.flatnonzero(number[1:] != number[:-1]) + 1
    bounds = np.concatenate([[0], changes, [rows]]) if rows else np.zeros(1, np.int64)
    if len(np.unique(number)) != len(bounds) - 1:
        raise GailfeError(f"{columns.where}: field 'episode': rows of one episode lie apart, expected them in a row")
    return bounds, order


def _offsets(found: np.ndarray, rows: int) -> np.ndarray:
    return found


def _ends(found: np.ndarray, rows: int) -> np.ndarray:
    return np.concatenate([[0], found])


def _starts(found: np.ndarray, rows: int) -> np.ndarray:
    # Either the rows themselves, or a mark in each.
    starts = np.flatnonzero(found) if len(found) == rows and rows > 1 else found
    return np.concatenate([starts, [rows]])


def _counted(where: str, field: str, found: np.ndarray, rows: int, read) -> np.ndarray:
    found = found.reshape(-1)
    if found.dtype.kind not in "iub" and not (found == np.floor(found)).all():
        raise GailfeError(f"{where}: field '{field}': {found.dtype}, expected whole numbers of rows")
    bounds = np.asarray(read(found, rows)).astype(np.int64)
    if len(bounds) < 2 or bounds[0] != 0 or bounds[-1] != rows or (np.diff(bounds) <= 0).any():
        raise GailfeError(f"{where}: field '{field}': expected increasing numbers of rows from 0 to {rows}")
    return bounds
