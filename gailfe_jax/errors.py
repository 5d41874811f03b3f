"""The error that means: the user can mend this."""

from __future__ import annotations


class GailfeError(ValueError):
    """A mistake the user can mend: the message is one line that names the file or field and what was expected.

    The command line prints it without a traceback and exits with code 2.
    """
