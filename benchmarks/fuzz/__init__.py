"""Inputs that somebody has meddled with: what is read of them is valid, or refused in one line of ours.

`python -m benchmarks.fuzz` (`make fuzz`) changes valid files, folders and command lines of every kind that is read, a
third of them byte by byte and the others in one part of an otherwise valid container. Each has ten seconds and a GiB;
`benchmarks/results/fuzz.json` holds the counts, and every failure in full.
"""
