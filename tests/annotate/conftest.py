"""Sessions and servers, each closed after its test."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import pytest

from gailfe_jax.annotate.film import Film
from gailfe_jax.annotate.server import Server
from gailfe_jax.annotate.session import Session


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """`(source, **options of Film) -> Server` that answers."""
    with contextlib.ExitStack() as stack:

        def begin(source: str, **options) -> Server:
            session = Session(source)
            film = Film(session, **options)
            stack.callback(film.close)
            server = stack.enter_context(Server(session, film))
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            return server

        yield begin
