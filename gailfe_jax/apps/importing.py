"""Makes demonstrations of recordings in the layouts of others."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from gailfe_jax.data.annotators import Annotator, annotate, parse_annotator
from gailfe_jax.data.episodes import Built, Recording, build, refuse_idle_ends
from gailfe_jax.data.iterable import sort
from gailfe_jax.data.recordings import read_recording
from gailfe_jax.data.recordings.fields import Request
from gailfe_jax.data.recordings.minari import PREFIX
from gailfe_jax.data.trajectories import Demonstrations, Trajectories, bounds_of, make_provenance
from gailfe_jax.envs import also_called, make_env, task_record
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.digests import file_sha256
from gailfe_jax.io.env_names import means
from gailfe_jax.types import Env, EnvSpec


def import_demonstrations(
    source: str | os.PathLike[str],
    *,
    env: str | Env | None = None,
    format: str | None = None,
    mapping: Sequence[str] = (),
    ends: str | None = None,
    failures: str | None = None,
    success: str | None = None,
    annotator: str | Annotator = "default",
    keep_failed: bool = False,
    clip: bool = False,
    actions: bool = True,
    command: str | None = None,
) -> Demonstrations:
    """Demonstrations of a recording; docs/data.md says what is read and what is derived.

    Who failed is said by a column, by a file of failures, or by an annotator: the one that is given, or, where nothing
    else says it, the environment's own. `provenance["notes"]` says what was derived, cast, sorted and left out.

    Args:
      source: a file, a folder or `minari:ID`.
      env: the environment that they are for; the one that the recording names if None, of which nothing is checked.
      format: the layout's name; found by the source if None.
      mapping: `field=name[,name...]`, which columns are which field.
      ends: `terminated` or `truncated`, for episodes of which nothing says how they end.
      failures: a column that is true where an episode failed, or a file, folder or `minari:ID` of failed episodes.
      success: a column that is true where an episode succeeded.
      annotator: what counts as failed.
      keep_failed: sort by no annotator.
      clip: clip actions to the environment's bounds instead of refusing them.
      actions: whether actions are read; without, demonstrations hold what was observed alone.
      command: for the provenance.

    Raises:
      GailfeError: no such recording, damage, a field that is missing, arrays that do not fit one another or the
        environment, labels that contradict one another, or only failures.
    """
    name = os.fspath(source)
    env = make_env(env) if isinstance(env, str) else env
    spec = None if env is None else env.spec
    beside = failures is not None and (os.path.exists(failures) or failures.lower().startswith(PREFIX))
    column = None if beside else failures
    if column is not None and success is not None:
        raise GailfeError("success: got a column beside --failures, whose column says the same; expected one of them")
    request = Request.of_words(
        mapping,
        label=success if success is not None else column,
        label_means_failed=success is None,
        time_limit=None if spec is None else spec.max_episode_steps,
        actions="required" if actions else "none",
    )
    recording = read_recording(name, request, format)
    built = [build(name, recording.episodes, spec=spec, ends=ends, clip=clip)]
    notes = [*recording.notes, *built[0].notes]
    if beside:
        same = Request.of_words(mapping, time_limit=request.time_limit, actions=request.actions)
        others = read_recording(str(failures), same)  # in a layout of its own
        built.append(build(str(failures), others.episodes, spec=spec, ends=ends, clip=clip))
        notes += [f"{failures}: {note}" for note in (*others.notes, *built[1].notes)]
    refuse_idle_ends(name, ends, built)
    for one in built:
        _check_sizes(name, one.trajectories, spec)
    env_id = _env_id(recording, env, notes)
    failed, judged_by = _failed(name, built[0], spec, annotator, keep_failed, notes, told=beside)
    if failed.all():
        why = f"by annotator {judged_by!r}" if judged_by else "by its labels"
        mend = "; --keep-failed keeps them, --annotator names another" if judged_by else ""
        if any("are over before" in note for note in notes):
            mend += ", --episodes-end-by truncated says that it was no fall that ended them"
        raise GailfeError(f"{name}: all {len(failed)} episodes are failures {why}; expected demonstrations{mend}")
    expert, failing = sort(built[0], failed, built[1:])
    file = pathlib.Path(name)
    task = None if env is None else task_record(env)
    extra: dict[str, Any] = {} if recording.expert_return is None else {"expert_return": recording.expert_return}
    extra |= {} if task is None else {"task": task}
    provenance = make_provenance(
        env_id=env_id,
        expert=file.name or name,
        failure_source="recorded" if failing.num_trajectories else "none",
        command=command,
        annotator=judged_by,
        notes=notes,
        imported={
            "format": recording.format,
            "sha256": file_sha256(file) if file.is_file() else None,
            "episodes": len(failed),
        },
        **extra,
    )
    demonstrations = Demonstrations(env_id, expert, failing, provenance)
    _check_fit(name, demonstrations, spec)
    return demonstrations


def _check_sizes(name: str, trajectories: Trajectories, spec: EnvSpec | None) -> None:
    """Raises GailfeError where observations or actions have other sizes than the environment's."""
    for field, size in () if spec is None else (("obs", spec.obs_size), ("action", spec.action_size)):
        found = getattr(trajectories, field).shape[1]
        if spec is not None and found != size and (found or field != "action"):
            raise GailfeError(
                f"{name}: field '{field}': size {found}, expected the {size} of {spec.name}; --map {field}=NAME,... "
                "chooses columns"
            )


def _check_fit(name: str, demonstrations: Demonstrations, spec: EnvSpec | None) -> None:
    """Validates demonstrations, against an environment where one is given; see `Demonstrations.validate`."""
    if spec is None:
        demonstrations.validate(name)
        return
    low, high, discrete = bounds_of(spec)
    try:
        demonstrations.validate(name, action_low=low, action_high=high, discrete=discrete)
    except GailfeError as error:
        if "/action': action[" in str(error):
            raise GailfeError(f"{error}; --clip-actions clips such actions") from None
        raise


def _env_id(recording: Recording, env: Env | None, notes: list[str]) -> str:
    if env is None:
        if not recording.env_id:
            raise GailfeError(f"{recording.name}: nothing in it says which environment it is of; expected --env")
        notes.append(f"env_id: {recording.env_id}, as the recording says; without --env nothing is checked against it")
        return recording.env_id
    env_id = env.spec.gymnasium_id or env.spec.name
    if recording.env_id and not means(recording.env_id, env.spec, also_called(env.spec)):
        notes.append(f"env_id: recorded as {recording.env_id}, taken for {env_id} as --env says")
    return env_id


def _failed(
    name: str,
    built: Built,
    spec: EnvSpec | None,
    annotator: str | Annotator,
    keep_failed: bool,
    notes: list[str],
    told: bool,
) -> tuple[np.ndarray, str | None]:
    """`[k]` bool which episodes failed, and the annotator that says so; None where no annotator does."""
    labelled, failed = ~np.isnan(built.failed), built.failed == 1
    by_default = annotator == "default"
    if keep_failed and not by_default:
        raise GailfeError("annotator: nothing reads it beside --keep-failed")
    if labelled.any():
        notes.append(f"failures: {int(failed.sum())} of {len(failed)} episodes, as the recording says")
    if keep_failed or (by_default and (told or labelled.any())):
        return failed, None
    if spec is None and isinstance(annotator, str):
        if by_default:
            return failed, None
        raise GailfeError(f"annotator: got {annotator!r}; expected --env beside it")
    judge = _judge(built, failed, spec, annotator, notes)
    if judge is None:
        return failed, None
    judged = annotate(judge, built.trajectories)
    notes.append(f"failures: {int(judged.sum())} of {len(failed)} episodes, by annotator {judge.name!r}")
    return failed | judged, judge.name


def _judge(
    built: Built, failed: np.ndarray, spec: EnvSpec | None, annotator: str | Annotator, notes: list[str]
) -> Annotator | None:
    """The annotator; None where the environment's own one cannot sort these episodes, which is said."""
    if isinstance(annotator, Annotator) or spec is None:
        return annotator if isinstance(annotator, Annotator) else None
    paid = built.trajectories.reward is not None and not failed.all()
    # Returns are counted against the mean of what is recorded.
    mean = float(built.trajectories.returns[~failed].mean()) if paid else None
    try:
        judge = parse_annotator(annotator, task=spec.name, default=spec.annotator, expert_return=mean)
    except GailfeError:
        if annotator != "default":
            raise
        judge = None
    if annotator != "default":
        return judge
    if judge is None or (judge.reads_reward and not paid):
        notes.append(
            f"failures: not looked for, for annotator {spec.annotator!r} of {spec.name} needs positive returns"
        )
        return None
    if judge.history:
        notes.append(f"failures: not looked for, for annotator {judge.name!r} calls some of any episodes failed")
        return None
    return judge
