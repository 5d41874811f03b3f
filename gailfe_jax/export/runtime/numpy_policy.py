"""A trained policy in this file and policy.npz beside it. NumPy is all that it needs.

    from policy import Policy

    policy = Policy()
    action = policy.act(obs)        # the deterministic action at obs [o], or [n, o] for many

`python policy.py` checks that the actions are those of the policy that was exported;
with -v it also shows what goes in and out.
"""

import json
import os

import numpy as np


class Policy:
    """A multi-layer perceptron on normalised observations.

    Attributes:
      contract: names, units and sizes of what goes in and out, where the policy comes from, and its self-test.
    """

    def __init__(self, path=None):
        """Reads `path`, by default the policy.npz beside this file. No code in it is run."""
        if path is None:
            path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "policy.npz")
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        self.contract = json.loads(str(arrays["contract"]))
        count = sum(name.startswith("kernel_") for name in arrays)
        self._layers = [
            (arrays[f"kernel_{i}"].astype(np.float64), arrays[f"bias_{i}"].astype(np.float64)) for i in range(count)
        ]
        self._mean, self._std = arrays["obs_mean"], arrays["obs_std"]
        self._low, self._high = arrays["action_low"], arrays["action_high"]
        self._clip = self.contract["observation"]["clip"]
        self._activation = {"tanh": np.tanh, "relu": lambda x: np.maximum(x, 0.0)}[
            self.contract["network"]["activation"]
        ]
        self._components = self.contract["network"]["components"]
        self._squashed = self.contract["network"]["squashed"]
        self.discrete = self.contract["action"]["kind"] == "choice"

    def act(self, obs):
        """The deterministic action at each observation.

        Args:
          obs: `[..., o]`, in the names, order and units of `contract["observation"]`.

        Returns:
          `[..., a]` float32 within the bounds; where actions are choices `[...]` their numbers, counted from 0.

        Raises:
          ValueError: another size, or what is not finite.
        """
        with np.errstate(over="ignore"):
            x = np.asarray(obs).astype(np.float32)
        if x.ndim == 0 or x.shape[-1] != len(self._mean):
            raise ValueError(f"obs: expected shape [..., {len(self._mean)}], got {list(x.shape)}")
        if not np.isfinite(x).all():
            raise ValueError("obs: expected finite numbers, got nan or infinity")
        # In single precision, as in training; all else in double.
        x = np.clip((x - self._mean) / self._std, -self._clip, self._clip).astype(np.float64)
        for kernel, bias in self._layers[:-1]:
            x = self._activation(x @ kernel + bias)
        kernel, bias = self._layers[-1]
        x = x @ kernel + bias
        if self.discrete:
            return x.argmax(axis=-1)
        if self._components > 1:
            means, logits = x[..., : -self._components], x[..., -self._components :]
            means = means.reshape(*x.shape[:-1], self._components, len(self._low))
            x = np.take_along_axis(means, logits.argmax(axis=-1)[..., None, None], axis=-2)[..., 0, :]
        if self._squashed:
            low, high = self._low.astype(np.float64), self._high.astype(np.float64)
            x = 0.5 * (low + high) + 0.5 * (high - low) * np.tanh(x)
        return np.clip(x.astype(np.float32), self._low, self._high)

    def predict(self, observation, state=None, episode_start=None, deterministic=True):
        """`(action, state)`, as Stable-Baselines3's models give them."""
        if not deterministic:
            raise ValueError("deterministic: this policy does not draw; expected True")
        return self.act(observation), state


def check(policy):
    """The greatest difference from the actions of the policy that was exported; ValueError where it is too great."""
    test = policy.contract["self_test"]
    expected = np.array(test["action"])
    error = np.abs(policy.act(np.array(test["obs"], np.float32)) - expected)
    if not (error <= np.array(test["tolerance"])).all():
        raise ValueError(f"off by {error.max():.3g}; expected at most {max(test['tolerance']):.3g}")
    return float(error.max()), len(expected)


if __name__ == "__main__":
    import sys

    loaded = Policy()
    try:
        worst, number = check(loaded)
    except ValueError as failure:
        sys.exit(f"failed: {failure}")
    if "-v" in sys.argv[1:]:
        for part in ("observation", "action"):
            for name, unit in zip(loaded.contract[part]["names"], loaded.contract[part]["units"]):
                print(f"{part}: {name} [{unit}]")
    print(f"ok: {number} actions, off by {worst:.3g} at most (NumPy)")
