"""Runs that are killed, damaged and refused their disk, beside the run that nothing happened to.

`python -m benchmarks.soak` (`make soak`) kills training runs at random moments and resumes them, damages checkpoints,
and takes the disk, the folder or the right to write away. What each ends in is compared with what
docs/reliability.md promises; `benchmarks/results/soak.json` holds the counts, and every failure in full.
"""
