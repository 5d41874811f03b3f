"""Several processes, on one host or many, that train one run: how they meet, and how they stay together.

Every process runs the same program on the same settings and computes on its own devices (see `train.Trainer`). What
each would decide by itself, by its clock, its signals or its files, they settle here: a process that takes another
branch than the others leaves them waiting in a collective for good. With one process everything here is the identity,
and all functions but `connected` are collectives: every process has to call them, in the same order.
"""

from __future__ import annotations

import collections
import contextlib
import os
import socket
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from gailfe_jax.errors import GailfeError, one_line, refusal
from gailfe_jax.io.digests import json_sha256
from gailfe_jax.types import PyTree

CONNECT_SECONDS = 120.0
_WORDS = "HOST:PORT COUNT INDEX, or nothing on Slurm, Open MPI and TPU pods"
_MESSAGE_BYTES = 1000


def is_first() -> bool:
    """Whether this is process 0, which writes what a run leaves behind."""
    return jax.process_index() == 0


@contextlib.contextmanager
def connected(words: Sequence[str] | None, timeout: float = CONNECT_SECONDS) -> Iterator[None]:
    """Joins the processes of a run, for the command line: has to come before any computation.

    A process that fails alone ends at once (exit code 1; 130 after a second signal), because an orderly end would wait
    for the others, and they for it: they notice by their broken connection, or by its missing heartbeat.

    Args:
      words: `(HOST:PORT, COUNT, INDEX)`: where process 0 listens, how many processes there are, which one this is; none
        where the cluster tells; None for a run of one process.
      timeout: seconds to wait for the others, after which the process ends with one line and exit code 2.

    Raises:
      GailfeError: other words, no cluster that would tell, or a port that is taken.
    """
    if words is None:
        yield
        return
    _connect(words, timeout)
    try:
        yield
        jax.distributed.shutdown()
    except GailfeError:
        raise  # All processes have it: see `agreed`.
    except KeyboardInterrupt:
        os._exit(130)
    except SystemExit as stop:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(stop.code if isinstance(stop.code, int) else 1)
    except BaseException as error:
        if _lost_another(error):
            _end(f"another process of the run has ended: {error}", 1)
        if isinstance(error, OSError):
            _end(refusal(error), 1)
        traceback.print_exc()
        _end(f"process {jax.process_index()} has failed", 1)


def _connect(words: Sequence[str], timeout: float) -> None:
    options: dict[str, Any] = {}
    if words:
        address, count, index = _parse(words)
        options = dict(coordinator_address=address, num_processes=count, process_id=index)
        options |= dict(cluster_detection_method="deactivate")
        if index == 0:
            _check_port(int(address.rpartition(":")[2]))
    # It would take SIGTERM from us.
    jax.config.update("jax_enable_preemption_service", False)
    # JAX aborts with a stack trace when its own time is up, so ours comes first.
    place = f" at {words[0]}" if words else ""
    missing = f"distributed: not all processes have come together{place} within {timeout:.0f} s"
    timer = threading.Timer(timeout, _end, (missing, 2))
    timer.daemon = True
    timer.start()
    try:
        jax.distributed.initialize(initialization_timeout=int(timeout) + 60, **options)
    except ValueError:
        raise GailfeError(f"distributed: no cluster found that names the processes; expected {_WORDS}") from None
    finally:
        timer.cancel()
    shares = collections.Counter(device.process_index for device in jax.devices())
    if len(set(shares.values())) > 1:
        raise GailfeError(f"distributed: the processes have {list(shares.values())} devices; expected as many each")


def _parse(words: Sequence[str]) -> tuple[str, int, int]:
    refused = GailfeError(f"distributed: got {' '.join(words)!r}; expected {_WORDS}")
    try:
        address, count, index = words[0], int(words[1]), int(words[2])
        host, _, port = address.rpartition(":")
        good = len(words) == 3 and host and 0 < int(port) < 2**16 and 0 <= index < count
    except (IndexError, ValueError):
        raise refused from None
    if not good:
        raise refused
    return address, count, index


def _check_port(port: int) -> None:
    """JAX crashes on a port that is taken."""
    try:
        socket.create_server(("", port)).close()
    except OSError as error:
        raise GailfeError(f"distributed: cannot listen on port {port}: {error.strerror or error}") from None


def _lost_another(error: BaseException) -> bool:
    return isinstance(error, jax.errors.JaxRuntimeError) or "Gloo" in str(error)


def _end(message: str, code: int) -> NoReturn:
    print(f"gailfe: error: {one_line(message)}", file=sys.stderr, flush=True)
    os._exit(code)


def anywhere(flag: bool) -> bool:
    """Whether any process says so."""
    if jax.process_count() == 1:
        return flag
    return bool(multihost_utils.process_allgather(np.array([flag])).any())


@contextlib.contextmanager
def agreed() -> Iterator[None]:
    """What one process cannot do inside, for lack of a file, say, all give up: each raises what the first one met.

    No other collective may be called inside.
    """
    failure: Exception | None = None
    try:
        yield
    except (GailfeError, OSError) as error:
        if jax.process_count() == 1:
            raise
        failure = error
    if jax.process_count() == 1:
        return
    message = b"" if failure is None else refusal(failure).encode()
    mine = np.frombuffer(message[:_MESSAGE_BYTES].ljust(_MESSAGE_BYTES, b"\0"), np.uint8)
    for index, row in enumerate(multihost_utils.process_allgather(mine)):
        said = row.tobytes().rstrip(b"\0").decode(errors="ignore")
        if said:
            raise GailfeError(f"process {index}: {said}") from failure


def check_same(values: Mapping[str, Any]) -> None:
    """Holds that all processes were started alike.

    Args:
      values: name to anything that JSON can hold; the names are the same everywhere.

    Raises:
      GailfeError: names the first value that differs.
    """
    if jax.process_count() == 1:
        return
    digests = [bytes.fromhex(json_sha256(value)) for value in values.values()]
    mine = np.frombuffer(b"".join(digests), np.uint8).reshape(len(digests), -1)
    rows = multihost_utils.process_allgather(mine)
    processes, fields = np.nonzero((rows != rows[0]).any(axis=-1))
    if len(processes):
        raise GailfeError(
            f"{list(values)[fields[0]]}: process {processes[0]} was given another one than process 0; expected "
            "the same command and the same data everywhere"
        )


def from_first(tree: PyTree) -> PyTree:
    """Process 0's tree of NumPy arrays, bit for bit; all bring trees of the same shapes and dtypes."""
    if jax.process_count() == 1:
        return tree
    # As bytes: they are sent as a sum with zeros, which would lose the sign of -0.0.
    sent = jax.tree.map(lambda x: np.frombuffer(np.ascontiguousarray(x).tobytes(), np.uint8), tree)
    got = multihost_utils.broadcast_one_to_all(sent)
    return jax.tree.map(lambda x, bits: bits.astype(np.uint8).view(x.dtype).reshape(x.shape), tree, got)
