"""The parts of `python benchmarks/gpu.py`: what is measured, the process that measures, and the one that keeps time."""
