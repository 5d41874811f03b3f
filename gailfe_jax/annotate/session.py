"""What was decided about the episodes of a demonstration file, and the file that this makes.

The new file is written after each decision, whole or not at all. It holds the decisions, too, so that a later session
goes on where this one ended. The file that is annotated is never written.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import os
import pathlib
import re
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from gailfe_jax.data.formats import write_demonstrations
from gailfe_jax.data.trajectories import Demonstrations, Trajectories, offsets_of
from gailfe_jax.data.validation import FIELDS, OPTIONAL, PARTS, STEP_FIELDS
from gailfe_jax.errors import GailfeError

GOOD, FAILED, FAILED_FROM = "good", "failed", "failed_from"
KINDS = (GOOD, FAILED, FAILED_FROM)
RECORD = "annotations"
"""Where a file's provenance holds the decisions."""
BY_HAND = "by hand"
"""What its provenance calls the annotator."""
_SUFFIX = re.compile(r"\.(npz|h5|hdf5)$", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Label:
    """A decision about an episode.

    Attributes:
      kind: `good`, `failed` or `failed_from`.
      step: the first action that belongs to the failure, for `failed_from`; else None.
    """

    kind: str
    step: int | None = None


@dataclasses.dataclass(frozen=True)
class Place:
    """Where an episode is in the annotated file: `part` (`expert` or `failures`) and its `index` there."""

    part: str
    index: int


class Session:
    """Decisions about the episodes of a file, numbered through its demonstrations and then its failures.

    Args:
      source: a demonstration file, or `minari:ID`.
      out: the file to write, `.npz` or `.h5`; beside the source if None. Where it exists, it must hold the annotation
        of this source, which then goes on.

    Attributes:
      out: the file that is written.
      demonstrations: what the source holds.
      places: where each episode is.
      labels: the decisions, by the episode's number.

    Raises:
      GailfeError: the source cannot be read, or `out` is the source, has another ending or holds something else.
    """

    def __init__(self, source: str, out: str | None = None):
        self.source = source
        self.demonstrations = Demonstrations.load(source)
        self.out = out or default_out(source)
        if not _SUFFIX.search(self.out):
            raise GailfeError(f"out: got {self.out!r}; expected a file name that ends in .npz or .h5")
        if os.path.realpath(self.out) == os.path.realpath(source):
            raise GailfeError(f"out: {self.out} is the file to annotate, which is not written; expected another name")
        self._digest = content_sha256(self.demonstrations)
        self.places = [
            Place(part, index)
            for part in PARTS
            for index in range(getattr(self.demonstrations, part).num_trajectories)
        ]  # fmt: skip
        self.labels: dict[int, Label] = {}
        self._lock = threading.Lock()
        self.resumed = pathlib.Path(self.out).exists()
        if self.resumed:
            self.labels = self._read_labels()

    def episode(self, number: int) -> Trajectories:
        """The episode alone.

        Raises:
          GailfeError: no such episode.
        """
        if not 0 <= number < len(self.places):
            raise GailfeError(f"episode: no number {number}; expected 0 to {len(self.places) - 1}")
        place = self.places[number]
        return getattr(self.demonstrations, place.part).trajectory(place.index)

    def decide(self, number: int, label: Label | None) -> None:
        """Stores a decision, or takes it back (None), and writes the file.

        Where the file cannot be written, the decision is not stored.

        Raises:
          GailfeError: no such episode, a step outside of it, no demonstration left, or a file that cannot be written.
        """
        label = self._checked(number, label)
        with self._lock:
            labels = {key: value for key, value in self.labels.items() if key != number}
            if label is not None:
                labels[number] = label
            result = self._result(labels)
            if not result.expert.num_trajectories:
                raise GailfeError("no demonstration would be left; expected one at least that is not failed throughout")
            pathlib.Path(self.out).parent.mkdir(parents=True, exist_ok=True)
            write_demonstrations(self.out, result)
            self.labels = labels

    def counts(self) -> dict[str, int]:
        """How many episodes there are and how many are decided, `all` and by kind."""
        kinds = [label.kind for label in self.labels.values()]
        return {"episodes": len(self.places), "decided": len(kinds)} | {kind: kinds.count(kind) for kind in KINDS}

    def _checked(self, number: int, label: Label | None) -> Label | None:
        steps = self.episode(number).num_transitions
        if label is None:
            return None
        if label.kind not in KINDS:
            raise GailfeError(f"label: got {label.kind!r}; expected one of {', '.join(KINDS)}")
        if label.kind != FAILED_FROM:
            return Label(label.kind)
        if label.step is None or not 0 <= label.step < steps:
            raise GailfeError(f"step: got {label.step}; expected 0 to {steps - 1}, before the episode ends")
        # Nothing of it is good.
        return label if label.step else Label(FAILED)

    def _result(self, labels: Mapping[int, Label]) -> Demonstrations:
        """The demonstrations that these decisions make of the source."""
        held: dict[str, list[Trajectories]] = {part: [] for part in PARTS}
        for number, place in enumerate(self.places):
            episode, label = self.episode(number), labels.get(number)
            if label is not None and label.kind == FAILED_FROM:
                assert label.step is not None
                held["expert"].append(_rows(episode, 0, label.step))
                held["failures"].append(_rows(episode, label.step, episode.num_transitions))
            elif label is None:
                held[place.part].append(episode)
            else:
                held["expert" if label.kind == GOOD else "failures"].append(episode)
        source = self.demonstrations
        nothing = Trajectories.empty(source.expert.obs.shape[1], source.expert.action.shape[1])
        parts = {part: Trajectories.concatenate(episodes or [nothing]) for part, episodes in held.items()}
        return Demonstrations(source.env_id, provenance=self._provenance(labels, held, parts), **parts)

    def _provenance(
        self, labels: Mapping[int, Label], held: Mapping[str, list[Trajectories]], parts: Mapping[str, Trajectories]
    ) -> dict[str, Any]:
        before = self.demonstrations.provenance
        record: dict[str, Any] = {
            "source": pathlib.PurePath(self.source).name,
            "content_sha256": self._digest,
            "episodes": len(self.places),
            "labels": [
                dataclasses.asdict(self.places[number])
                | {"label": label.kind}
                | ({} if label.step is None else {"step": label.step})
                for number, label in sorted(labels.items())
            ],
            "saved": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "before": {name: before.get(name) for name in ("failure_source", "annotator")},
        }
        lost = [
            f"{field}: left out of the {part}, for some of its episodes have none"
            for part, episodes in held.items()
            for field in OPTIONAL
            if getattr(parts[part], field) is None and any(getattr(one, field) is not None for one in episodes)
        ]
        notes = before.get("notes")
        after: dict[str, Any] = before | {RECORD: record, "notes": [*(notes if isinstance(notes, list) else []), *lost]}
        if any(label.kind != GOOD for label in labels.values()):
            judged = before.get("annotator")
            after |= {"failure_source": "recorded", "annotator": f"{judged}, then {BY_HAND}" if judged else BY_HAND}
        elif not parts["failures"].num_trajectories:
            after |= {"failure_source": "none"}
        return after

    def _read_labels(self) -> dict[int, Label]:
        record = Demonstrations.load(self.out).provenance.get(RECORD)
        if not isinstance(record, dict) or not isinstance(record.get("labels"), list):
            raise GailfeError(f"{self.out}: exists and annotates nothing; expected another --out")
        if record.get("content_sha256") != self._digest:
            raise GailfeError(
                f"{self.out}: annotates {record.get('source')!r} with other content than {self.source} has; expected "
                "another --out"
            )
        numbers = {place: number for number, place in enumerate(self.places)}
        labels: dict[int, Label] = {}
        for entry in record["labels"]:
            try:
                number = numbers[Place(entry["part"], entry["index"])]
                label = self._checked(number, Label(entry["label"], entry.get("step")))
            except (KeyError, TypeError, AttributeError, GailfeError):
                raise GailfeError(f"{self.out}: field 'provenance': {RECORD}: damaged at {entry!r:.80}") from None
            assert label is not None
            labels[number] = label
        return labels


def default_out(source: str) -> str:
    """Beside the source, its name and `-annotated`; in this folder for what is no file."""
    if _SUFFIX.search(source):
        return _SUFFIX.sub(r"-annotated.\1", source)
    return f"{re.sub(r'[^A-Za-z0-9.-]+', '-', source).strip('-')}-annotated.npz"


def content_sha256(demonstrations: Demonstrations) -> str:
    """A digest of the environment's name and all arrays, whatever file they are in."""
    digest = hashlib.sha256(demonstrations.env_id.encode())
    for part in PARTS:
        for field in FIELDS:
            array = getattr(getattr(demonstrations, part), field)
            digest.update(f"{part}/{field} {None if array is None else array.shape}".encode())
            if array is not None:
                digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _rows(episode: Trajectories, start: int, stop: int) -> Trajectories:
    """Steps `start` to `stop` of one episode; truncated where the recording is cut before its end."""
    fields: dict[str, Any] = {
        name: None if (array := getattr(episode, name)) is None else array[start:stop].copy() for name in STEP_FIELDS
    }
    if stop < episode.num_transitions:
        fields["truncated"][-1] = True
    return Trajectories(offsets=offsets_of(np.array([stop - start])), **fields)
