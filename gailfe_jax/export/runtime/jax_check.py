"""Checks policy.jax, beside this file, against the actions of the policy that was exported: `python check.py`.

It needs JAX (with flatbuffers) and NumPy. This is also how the file is used:

    with open("policy.jax", "rb") as file:
        policy = jax.export.deserialize(bytearray(file.read()))
    action = policy.call(obs)      # obs [n, o] float32; inside jit as well
"""

import json
import os
import sys

import jax
import jax.export
import numpy as np


def main():
    """Runs the self-test; the exit code is 0 where all is well."""
    folder = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(folder, "policy.jax"), "rb") as file:
        policy = jax.export.deserialize(bytearray(file.read()))
    with open(os.path.join(folder, "contract.json"), encoding="utf-8") as file:
        contract = json.load(file)
    if "-v" in sys.argv[1:]:
        for part in ("observation", "action"):
            for name, unit in zip(contract[part]["names"], contract[part]["units"]):
                print(f"{part}: {name} [{unit}]")
    test = contract["self_test"]
    obs, expected = np.array(test["obs"], np.float32), np.array(test["action"])
    worst = 0.0
    for count in (len(obs), 1):
        error = np.abs(np.asarray(policy.call(obs[:count])) - expected[:count])
        if not (error <= np.array(test["tolerance"])).all():
            sys.exit(f"failed: off by {error.max():.3g}; expected at most {max(test['tolerance']):.3g}")
        worst = max(worst, float(error.max()))
    where = f"jax {jax.__version__} on {jax.default_backend()}"
    print(f"ok: {len(expected)} actions, off by {worst:.3g} at most ({where})")


if __name__ == "__main__":
    main()
