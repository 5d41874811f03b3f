"""Checks policy.onnx, beside this file, against the actions of the policy that was exported: `python check.py`.

It needs onnxruntime and NumPy. This is also how the file is used:

    session = onnxruntime.InferenceSession("policy.onnx")
    action = session.run(["action"], {"obs": obs})[0]      # obs [n, o] float32
"""

import json
import os
import sys

import numpy as np
import onnxruntime


def main():
    """Runs the self-test; the exit code is 0 where all is well."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "policy.onnx")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    contract = json.loads(session.get_modelmeta().custom_metadata_map["gailfe_jax"])
    if "-v" in sys.argv[1:]:
        for part in ("observation", "action"):
            for name, unit in zip(contract[part]["names"], contract[part]["units"]):
                print(f"{part}: {name} [{unit}]")
    test = contract["self_test"]
    obs, expected = np.array(test["obs"], np.float32), np.array(test["action"])
    alone = [np.asarray(session.run(["action"], {"obs": row[None]})[0])[0] for row in obs]
    worst = 0.0
    for action in (session.run(["action"], {"obs": obs})[0], np.array(alone)):
        error = np.abs(action - expected)
        if not (error <= np.array(test["tolerance"])).all():
            sys.exit(f"failed: off by {error.max():.3g}; expected at most {max(test['tolerance']):.3g}")
        worst = max(worst, float(error.max()))
    print(f"ok: {len(expected)} actions, off by {worst:.3g} at most (onnxruntime {onnxruntime.__version__})")


if __name__ == "__main__":
    main()
