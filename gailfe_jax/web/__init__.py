"""Pages: markup, self-contained files, and a server for this machine alone."""
