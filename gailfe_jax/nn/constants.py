"""Numbers that the networks in JAX and those in NumPy share. No JAX here: a policy file acts without it."""

from __future__ import annotations

OBS_CLIP = 10.0
"""Normalised inputs are clipped to this many standard deviations."""

SQUASHED_LOG_STD = (-5.0, 2.0)
"""Least and largest log standard deviation of a Gaussian that is squashed."""
