"""Trained policies for places where this package is not installed: one file a target, see `registry`.

Shapes: `o`, `a` observation and action sizes, `K` components of a mixture, `n` observations.
"""
