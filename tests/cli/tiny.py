"""Flags of a run so small that compiling takes nearly all of its time."""

TINY = [
    *("--num-envs", "4", "--unroll-length", "32", "--hidden", "8", "--value-minibatch", "64"),
    *("--eval-every", "128", "--eval-episodes", "1"),
]
