"""Which files an MJCF model is made of, found by reading them: MuJoCo itself does not say.

A name in the model stands for every place where MuJoCo may look for it: beside the model, and in the folders that its
`compiler` names. Each of them that holds such a file counts.
"""

from __future__ import annotations

import os
import pathlib
import xml.etree.ElementTree as ElementTree

Stamp = tuple[int, int, int] | None

# The main file to all places that its names stand for, each with its stamp when they were last looked for.
_SEEN: dict[pathlib.Path, dict[pathlib.Path, Stamp]] = {}


def stamp(path: pathlib.Path) -> Stamp:
    """What changes with a file's content; None where there is no such file."""
    try:
        found = path.stat()
    except (OSError, ValueError):  # The latter for a name with a null byte.
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def model_stamp(path: pathlib.Path) -> tuple[tuple[pathlib.Path, Stamp], ...]:
    """`(place, stamp)` of every file of the model at `path`: others after any of them has changed, come or gone."""
    held = _SEEN.get(path)
    if held is None or any(stamp(file) != before for file, before in held.items()):
        held = _SEEN[path] = {file: stamp(file) for file in _places(path)}
    return tuple(held.items())


def model_files(path: pathlib.Path) -> dict[pathlib.Path, bool]:
    """The files that the model at `path` consists of, itself first, and whether each is named relative to it.

    What a file that does not parse would name is not listed.
    """
    return {file: relative for file, relative in _places(path).items() if file.is_file()}


def _places(path: pathlib.Path) -> dict[pathlib.Path, bool]:
    found = {path: True}
    _collect(path, path.parent, found)
    return found


def _collect(path: pathlib.Path, main: pathlib.Path, found: dict[pathlib.Path, bool]) -> None:
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError, ValueError):
        return
    folders, strips = [""], False
    for compiler in root.iter("compiler"):
        folders += [compiler.get(name, "") for name in ("meshdir", "texturedir", "assetdir")]
        strips |= compiler.get("strippath") == "true"
    for element in root.iter():
        nested = element.tag in ("include", "model")
        for attribute, name in element.attrib.items():
            if not attribute.startswith("file") or not name:
                continue
            name = name.replace("\\", "/")
            name = pathlib.PurePosixPath(name).name if strips and not nested else name
            # No folder of the compiler's goes before an include's name.
            for folder in dict.fromkeys([""] if nested else folders):
                for start in dict.fromkeys((main, path.parent)):
                    file = pathlib.Path(os.path.normpath(start / folder / name))
                    if file in found:
                        continue
                    found[file] = found[path] and not (os.path.isabs(folder) or os.path.isabs(name))
                    if nested:
                        _collect(file, main if element.tag == "include" else file.parent, found)
