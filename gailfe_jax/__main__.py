"""`python -m gailfe_jax` is `gailfe`."""

from __future__ import annotations

import sys

from gailfe_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
