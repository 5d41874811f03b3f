"""The `gailfe` command: runs the command asked for, and ends bad input in one line and exit code 2."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
import warnings
from collections.abc import Sequence

import gailfe_jax
from gailfe_jax.cli.commands import COMMANDS, IMPORT_HELP
from gailfe_jax.errors import (
    WITHOUT_X64,
    GailfeError,
    GailfeWarning,
    one_line,
    raised_in_program,
    refusal,
    shown,
    shown_in_one_line,
)
from gailfe_jax.io.user_modules import only_asked_for

_MUJOCO = os.path.join("mujoco", "__init__.py")
_JAX = os.path.join("jax", "_src", "config.py")
_SILENT = {"-h", "--help", "--quiet", "--json", "--print-config"}
_TRUE = ("1", "true", "t", "yes", "y", "on")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code: 0 done, 2 bad input, 3 a seed has diverged, 130
    interrupted.

    Raises:
      SystemExit: after a command's help (0).
    """
    args = list(sys.argv[1:] if argv is None else argv)
    # What XLA's own log says, such as that a program compiles slowly, is nothing that a user could mend.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", GailfeWarning)
            warnings.showwarning = shown_in_one_line(warnings.showwarning)
            _check_surroundings(args)
            with only_asked_for(args):
                return _dispatch(args)
    except BrokenPipeError:
        # Whoever read our output (`| head`) has seen enough; Python would complain once more on closing it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (GailfeError, OSError) as error:
        print(f"gailfe: error: {shown(refusal(error))}", file=sys.stderr)
        return 2
    except Exception as error:
        said = raised_in_program(error) or _without_picture(error) or _without_jax(error) or _without_memory(error)
        if said is None:
            raise
        print(f"gailfe: error: {shown(said)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        if error.args:
            print(f"gailfe: {error}", file=sys.stderr)
        return 130


def _without_picture(error: Exception) -> str | None:
    """What to say where MuJoCo cannot be imported with the platform that MUJOCO_GL names; None of any other error."""
    wanted, frames = os.environ.get("MUJOCO_GL"), traceback.extract_tb(error.__traceback__)
    inside = any(frame.name == "<module>" and frame.filename.endswith(_MUJOCO) for frame in frames)
    if wanted is None or not inside:
        return None
    said = one_line(f"{type(error).__name__}: {error}", first=True)
    return f"MUJOCO_GL: got {wanted!r}, with which MuJoCo does not load ({said}); expected egl, osmesa or glfw, or none"


def _without_jax(error: Exception) -> str | None:
    """What to say where JAX cannot be imported with a variable of the environment; None of any other error."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = any(frame.name == "<module>" and frame.filename.endswith(_JAX) for frame in frames)
    if not inside:
        return None
    said = one_line(error, first=True)
    return f"JAX does not load ({said}); expected environment variables JAX_... with values that it takes, or unset"


def _without_memory(error: Exception) -> str | None:
    """What to say where the machine or the device has no more memory; None of any other error."""
    of_device = type(error).__name__ == "JaxRuntimeError" and "RESOURCE_EXHAUSTED" in str(error)
    if not (isinstance(error, MemoryError) or of_device):
        return None
    return f"memory: used up ({one_line(error, first=True)}); expected less at once"


def _check_surroundings(args: Sequence[str]) -> None:
    """Refuses what JAX is told by the environment and this package cannot work with, before anything is begun.

    Raises:
      GailfeError: names the variable.
    """
    if os.environ.get("JAX_ENABLE_X64", "").lower() in _TRUE:
        raise GailfeError(f"JAX_ENABLE_X64: got {os.environ['JAX_ENABLE_X64']!r}; expected it unset: {WITHOUT_X64}")
    platforms = os.environ.get("JAX_PLATFORMS", "")
    asks_nothing = not args or args[0] in ("-h", "--help", "--version") or {"-h", "--help"} & set(args)
    # Processes that share a run meet before JAX looks for devices.
    if platforms in ("", "cpu") or asks_nothing or any(word.startswith("--distributed") for word in args):
        return
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        said = one_line(error, first=True) or "none found"
        raise GailfeError(f"JAX_PLATFORMS: got {platforms!r}, and JAX has no such device here ({said})") from None


def _dispatch(args: Sequence[str]) -> int:
    word = args[0] if args else "--help"
    if word in ("-h", "--help"):
        print(_help())
        return 0
    if word == "--version":
        print(f"gailfe {gailfe_jax.__version__}")
        return 0
    if word not in COMMANDS:
        raise GailfeError(_unknown(word))
    _greet(args)
    modules, words = _split_imports(args[1:])
    if modules:
        from gailfe_jax.io.user_modules import import_user_module

        for module in modules:
            import_user_module(module)
    return importlib.import_module(COMMANDS[word].module).run(words)


def _greet(args: Sequence[str]) -> None:
    """Says at once on a terminal what is being loaded: importing JAX and MuJoCo takes seconds."""
    if sys.stderr.isatty() and not _SILENT & set(args):
        print(f"gailfe {args[0]}: loading JAX and MuJoCo ...", file=sys.stderr, flush=True)


def _split_imports(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The modules that `--import` names, and the other words.

    Raises:
      GailfeError: no module follows `--import`.
    """
    modules, others = [], []
    remaining = iter(words)
    for word in remaining:
        flag, equals, module = word.partition("=")
        if flag != "--import":
            others.append(word)
            continue
        module = module if equals else next(remaining, "")
        if not module or module.startswith("-"):
            raise GailfeError(f"import: got {module!r}; expected a module's name or a .py file after --import")
        modules.append(module)
    return modules, others


def _help() -> str:
    options = {
        "-h, --help": "Show this page; gailfe COMMAND --help explains a command.",
        "--version": "Show the version.",
    }
    width = max(map(len, (*COMMANDS, *options)))
    return "\n".join(
        [
            "usage: gailfe COMMAND [OPTIONS]",
            "",
            "Adversarial imitation learning in JAX, from demonstrations and from failures.",
            "",
            "commands:",
            *(f"  {name:{width}}  {command.summary}" for name, command in COMMANDS.items()),
            "",
            "options:",
            *(f"  {flag:{width}}  {meaning}" for flag, meaning in options.items()),
            "",
            IMPORT_HELP,
        ]
    )


def _unknown(word: str) -> str:
    if word.startswith("-"):
        return f"got {word!r}; expected a command first (gailfe --help lists them)"
    import difflib

    near = difflib.get_close_matches(word, COMMANDS, n=1)
    expected = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(COMMANDS)}"
    return f"unknown command {word!r}; {expected}"
