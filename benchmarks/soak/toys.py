"""What `--import` brings into a run of the soak: the toy tasks, whose programs JAX keeps from process to process."""

from __future__ import annotations

from tests import toy

toy.register()
