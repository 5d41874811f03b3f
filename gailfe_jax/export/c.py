"""C99 source and header without dependencies: constants and loops, nothing is allocated."""

from __future__ import annotations

import itertools
import json
import os
import pathlib
import shlex
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from gailfe_jax.artifacts.policy import Policy
from gailfe_jax.export.checking import run_check, runtime_file

FLAGS = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Werror")
CHECK = "cc -std=c99 -O2 policy.c check.c -o check -lm && ./check"
_PER_LINE = 6


def require() -> None:
    """Nothing; a compiler is needed for the check alone."""


def files(policy: Policy, contract: Mapping[str, Any]) -> dict[str, bytes]:
    """`policy.h`, `policy.c`, and `check.c` with `check_data.h`; the contract is in the header, and as names in C."""
    return {
        "policy.h": _header(policy, contract).encode(),
        "policy.c": _source(policy, contract).encode(),
        "check.c": runtime_file("check.c"),
        "check_data.h": _tests(policy, contract).encode(),
    }


def check(folder: pathlib.Path) -> str:
    """Compiles the folder without warnings, in double and in single precision, and runs both; says so where there is no
    compiler.

    Raises:
      GailfeError: one of them fails.
    """
    found = os.environ.get("CC") or next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), None)
    if found is None:
        return "not checked: no C compiler is here (cc, gcc, clang, or what CC names)"
    said = ""
    with tempfile.TemporaryDirectory() as place:
        program = os.path.join(place, "check")
        for precision in ([], ["-DPOLICY_FLOAT"]):
            words = [*shlex.split(found), *FLAGS, *precision, "policy.c", "check.c", "-o", program, "-lm"]
            run_check(words, folder)
            said = said or run_check([program], folder)
            run_check([program], folder)
    return said


def _header(policy: Policy, contract: Mapping[str, Any]) -> str:
    seconds = contract["seconds_per_step"]
    held = "" if seconds is None else f"Act once every {seconds:g} seconds, and hold the action in between.\n   "
    kind = (
        "the number of a choice, counted from 0, in action[0]"
        if policy.discrete
        else "within its bounds, whatever the observation"
    )
    lines = [
        "/* A trained policy. policy.c and this header are all of it; libm gives tanh. Nothing is allocated.",
        "   Do not compile it with -ffast-math, which would let numbers that are not finite through.",
        f"   {held}Written by gailfe_jax {contract['gailfe_jax']}.",
        "",
        "   Observation, in this order:",
        *_listed(contract["observation"]),
        "",
        f"   Action, {kind}:",
        *_listed(contract["action"]),
        "*/",
        "#ifndef GAILFE_POLICY_H",
        "#define GAILFE_POLICY_H",
        "",
        f"#define POLICY_OBS_SIZE {policy.obs_size}",
        f"#define POLICY_ACTION_SIZE {1 if policy.discrete else policy.action_size}",
        f"#define POLICY_CHOICES {policy.action_size if policy.discrete else 0}",
        f"#define POLICY_SECONDS_PER_STEP {'(-1.0)' if seconds is None else repr(seconds)}",
        "",
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
        "",
        f"typedef {'int' if policy.discrete else 'float'} policy_action;",
        "",
        "/* The deterministic action. Returns 0, or -1 where a number of obs is not finite: action is as it was then.",
        "   Computed in double; with -DPOLICY_FLOAT in float, for processors without double. */",
        "int policy_act(const float obs[POLICY_OBS_SIZE], policy_action action[POLICY_ACTION_SIZE]);",
        "",
        "/* Names and units as text. */",
        "extern const char *const policy_obs_names[POLICY_OBS_SIZE];",
        "extern const char *const policy_obs_units[POLICY_OBS_SIZE];",
        f"extern const char *const policy_action_names[{policy.action_size}];",
        f"extern const char *const policy_action_units[{policy.action_size}];",
        "",
        "#ifdef __cplusplus",
        "}",
        "#endif",
        "",
        "#endif",
    ]
    return "\n".join(lines) + "\n"


def _listed(part: Mapping[str, Any]) -> list[str]:
    """Names, units and bounds as lines of a comment."""
    lows, highs = part.get("low", ()), part.get("high", ())
    lines = []
    for i, (name, unit) in enumerate(zip(part["names"], part["units"], strict=True)):
        bounds = "" if not lows else f", {_bound(lows[i], '-')} to {_bound(highs[i], '')}"
        lines.append(f"     {i:3} {_commented(name)} [{_commented(unit)}]{bounds}")
    return lines


def _bound(value: float | None, sign: str) -> str:
    return f"{sign}infinity" if value is None else f"{value:g}"


def _commented(text: str) -> str:
    """A text without what could end a comment, open another or join its lines; a model's author chose it."""
    return "".join(c if c.isascii() and (c.isalnum() or c in " _.:,#()[]+-^/") else "_" for c in text)


def _quoted(text: str) -> str:
    """A C string; what is not a plain letter in octal, so that no trigraph and no escape is in it."""
    plain = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _.:,#()[]+-^/*"
    return '"' + "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in text.encode()) + '"'


def _numbers(values: Iterable[Any]) -> str:
    words = [_number(value) for value in values]
    rows = (", ".join(words[i : i + _PER_LINE]) for i in range(0, len(words), _PER_LINE))
    return ",\n    ".join(rows)


def _number(value: Any) -> str:
    if isinstance(value, int | np.integer):
        return str(int(value))
    if np.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    # Nine digits are enough for every float to be read as it was.
    text = f"{float(value):.9g}"
    return f"{text if any(c in text for c in '.e') else text + '.0'}f"


def _array(kind: str, name: str, values: Any, size: str | int = "") -> str:
    return f"static const {kind} {name}[{size}] = {{\n    {_numbers(np.asarray(values).ravel())}}};"


def _texts(name: str, texts: Sequence[str], size: str | int) -> str:
    rows = ",\n    ".join(map(_quoted, texts))
    return f"const char *const {name}[{size}] = {{\n    {rows}}};"


def _source(policy: Policy, contract: Mapping[str, Any]) -> str:
    widths = [policy.obs_size, *(bias.shape[0] for _, bias in policy.deterministic_layers)]
    parts = [
        '#include "policy.h"',
        "",
        "#include <math.h>",
        "",
        "/* Where the policy comes from:",
        f"   {_commented(json.dumps(contract['source'], sort_keys=True))} */",
        "",
        "#ifdef POLICY_FLOAT",
        "typedef float policy_real;",
        "#define POLICY_TANH tanhf",
        "#else",
        "typedef double policy_real;",
        "#define POLICY_TANH tanh",
        "#endif",
        "",
        _array("float", "obs_mean", policy.obs_mean),
        _array("float", "obs_std", policy.obs_std),
    ]
    for i, (kernel, bias) in enumerate(policy.deterministic_layers):
        parts += [_array("float", f"kernel_{i}", kernel), _array("float", f"bias_{i}", bias)]
    if not policy.discrete:
        parts += [_array("float", "low", policy.action_low), _array("float", "high", policy.action_high)]
    for part, size in (("obs", "POLICY_OBS_SIZE"), ("action", policy.action_size)):
        held = contract["observation" if part == "obs" else "action"]
        parts += [_texts(f"policy_{part}_{kind}", held[kind], size) for kind in ("names", "units")]
    parts += ["", _LAYER]
    if policy.discrete or policy.components > 1:
        parts += ["", _LARGEST]
    parts += ["", *_act(policy, contract["observation"]["clip"], widths)]
    return "\n".join(parts) + "\n"


_LAYER = """/* out = in * kernel + bias; kernel has a row for each input. */
static void layer(const policy_real *in, int inputs, const float *kernel, const float *bias, policy_real *out,
                  int outputs) {
    int i, j;
    for (j = 0; j < outputs; ++j) {
        out[j] = 0;
    }
    for (i = 0; i < inputs; ++i) {
        for (j = 0; j < outputs; ++j) {
            out[j] += in[i] * (policy_real)kernel[i * outputs + j];
        }
    }
    for (j = 0; j < outputs; ++j) {
        out[j] += (policy_real)bias[j];
    }
}"""
_LARGEST = """/* Where the largest number stands; of equal ones, the first. */
static int largest(const policy_real *values, int count) {
    int i, best = 0;
    for (i = 1; i < count; ++i) {
        if (values[i] > values[best]) {
            best = i;
        }
    }
    return best;
}"""


def _act(policy: Policy, clip: float, widths: Sequence[int]) -> list[str]:
    """The lines of `policy_act`."""
    activation = {"tanh": "POLICY_TANH(x[i])", "relu": "x[i] > 0 ? x[i] : 0"}[policy.activation]
    limit = _number(clip)
    lines = [
        "int policy_act(const float obs[POLICY_OBS_SIZE], policy_action action[POLICY_ACTION_SIZE]) {",
        f"    policy_real x[{max(widths)}], y[{max(widths)}];",
        "    int i;",
        "    for (i = 0; i < POLICY_OBS_SIZE; ++i) {",
        "        float z;",
        "        if (!isfinite(obs[i])) {",
        "            return -1;",
        "        }",
        "        /* In float, as in training. */",
        "        z = (obs[i] - obs_mean[i]) / obs_std[i];",
        f"        x[i] = z < -{limit} ? -{limit} : z > {limit} ? {limit} : z;",
        "    }",
    ]
    last = len(widths) - 2
    for i, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        lines.append(f"    layer(x, {inputs}, kernel_{i}, bias_{i}, y, {outputs});")
        if i == last:
            break
        lines += [
            f"    for (i = 0; i < {outputs}; ++i) {{",
            f"        x[i] = {activation.replace('x[i]', 'y[i]')};",
            "    }",
        ]
    size, components = policy.action_size, policy.components
    if policy.discrete:
        return [*lines, f"    action[0] = largest(y, {size});", "    return 0;", "}"]
    if components > 1:
        lines += [f"    const policy_real *mean = y + {size} * largest(y + {components * size}, {components});"]
    value = "mean[i]" if components > 1 else "y[i]"
    if policy.squashed:
        ends = [f"(policy_real){side}[i]" for side in ("high", "low")]
        half, centre = (f"(policy_real)0.5 * ({ends[0]} {sign} {ends[1]})" for sign in "-+")
        value = f"({centre} + {half} * POLICY_TANH(y[i]))"
    return [
        *lines,
        "    for (i = 0; i < POLICY_ACTION_SIZE; ++i) {",
        f"        float value = (float){value};",
        "        value = value > high[i] ? high[i] : value;",
        "        action[i] = value < low[i] ? low[i] : value;",
        "    }",
        "    return 0;",
        "}",
    ]


def _tests(policy: Policy, contract: Mapping[str, Any]) -> str:
    test = contract["self_test"]
    obs = np.array(test["obs"], np.float32)
    kind = "int" if policy.discrete else "float"
    action = np.array(test["action"], np.int64 if policy.discrete else np.float32).reshape(len(obs), -1)
    return "\n".join(
        [
            "/* The self-test: observations, the exported policy's actions, and by how much rounding may move them. */",
            f"#define CHECK_COUNT {len(obs)}",
            _array("float", "check_obs", obs),
            _array(kind, "check_action", action),
            _array("float", "check_tolerance", np.array(test["tolerance"], np.float32)),
            "",
        ]
    )
