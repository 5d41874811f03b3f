"""Serves a page: on this machine only, to who knows the token in its address, and to no page of another origin.

A page of somebody else's may be open in the same browser. It does not know the token. It cannot make a name of its own
mean this machine, for the Host header is checked. And what changes something must come with this page's own Origin.
"""

from __future__ import annotations

import hmac
import http
import json
import pathlib
import secrets
import sys
import tempfile
import webbrowser
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, NamedTuple

from gailfe_jax.errors import GailfeError, refusal
from gailfe_jax.io.json_text import parse_json

HOST = "127.0.0.1"
DROPPED = "private, no-store"
KEPT = "private, max-age=86400, immutable"
"""For what never changes; the token makes its address new in each session."""
_LONGEST_BODY = 4096
_HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Answer(NamedTuple):
    """What is sent: the body, its type, whether the browser may keep it, and what its page may load."""

    body: bytes
    kind: str
    cache: str = DROPPED
    policy: str | None = None


class Refused(Exception):
    """An answer other than 200: `args` are its status and its words."""


class LocalServer(ThreadingHTTPServer):
    """Serves one page. A subclass answers by `get` and `post`.

    Args:
      port: to listen on; 0 takes a free one.

    Attributes:
      url: the page's address, which holds the token: who has it can do all that the page can.
      command: what printed the address, for messages.
      policy: the content security policy of answers that bring none of their own.

    Raises:
      GailfeError: the port is taken, or no port.
    """

    daemon_threads = True
    # Else a second server could take the port of one that runs.
    allow_reuse_address = sys.platform != "win32"
    command: ClassVar[str] = "gailfe"
    policy: ClassVar[str] = "default-src 'none'; frame-ancestors 'none'"

    def __init__(self, port: int = 0):
        if not 0 <= port <= 65535:
            raise GailfeError(f"port: got {port}; expected 0 to 65535")
        self.token = secrets.token_urlsafe(32)
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise GailfeError(
                f"port: {port} on {HOST} cannot be listened on ({error.strerror or error}); expected a free one, or 0 "
                "to take any"
            ) from None
        self.hosts = {f"{name}:{self.server_port}" for name in (HOST, "localhost")}
        self.url = f"http://{HOST}:{self.server_port}/{self.token}/"

    def get(self, path: str) -> Answer:
        """The answer to a GET of `path` behind the token.

        Raises:
          Refused: with another status than 200.
          GailfeError: in words for the page.
        """
        raise no_such_page()

    def post(self, path: str, asked: Any) -> Answer:
        """The answer to a POST of the JSON `asked`, None where it is none; see `get`."""
        raise no_such_page()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the midst of an answer is no error."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    def run(self, browser: bool = True) -> None:
        """Prints the address, opens it in the browser if wanted, and answers until Ctrl-C."""
        with tempfile.TemporaryDirectory(prefix="gailfe-") as folder:
            print(f"open {self.url} (Ctrl-C ends)", flush=True)
            try:
                if browser:
                    _open(self.url, pathlib.Path(folder))
                self.serve_forever()
            except KeyboardInterrupt:
                print()


def as_json(content: dict[str, Any]) -> Answer:
    """An object as an answer."""
    return Answer(json.dumps(content).encode(), "application/json")


def no_such_page() -> Refused:
    """For what is not there."""
    return Refused(http.HTTPStatus.NOT_FOUND, "no such page")


def _open(url: str, folder: pathlib.Path) -> None:
    """Opens the page without its address on a command line, where everybody on this machine could read the token."""
    page = folder / "open.html"
    page.write_text(f'<!doctype html><title>gailfe</title><meta http-equiv="refresh" content="0; url={url}">')
    webbrowser.open(page.as_uri())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "gailfe", ""
    timeout = 60
    server: LocalServer

    def do_GET(self) -> None:
        self._respond(self.server.get)

    def do_POST(self) -> None:
        self._respond(lambda path: self.server.post(path, self._asked()))

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the lines would hold the token."""

    def _respond(self, answer: Callable[[str], Answer]) -> None:
        status = http.HTTPStatus.OK
        try:
            body, kind, cache, policy = answer(self._path())
        except Refused as refused:
            status, words = refused.args
            body, kind, cache, policy = as_json({"error": words})
            # What is left of a request that was not read would be taken for the next one.
            self.close_connection = True
        except (GailfeError, OSError) as error:
            status = http.HTTPStatus.UNPROCESSABLE_ENTITY
            body, kind, cache, policy = as_json({"error": refusal(error)})
        self.send_response(status)
        own = {"Content-Type": kind, "Cache-Control": cache, "Content-Security-Policy": policy or self.server.policy}
        for name, value in (_HEADERS | own).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def _path(self) -> str:
        """What is asked for, behind the token. Raises Refused where host or token are not ours."""
        if self.headers.get("Host", "").lower() not in self.server.hosts:
            raise Refused(http.HTTPStatus.FORBIDDEN, "host: expected this machine")
        token, slash, rest = self.path.removeprefix("/").partition("/")
        # In constant time: how long it takes tells nothing of the token.
        if not slash or not hmac.compare_digest(token.encode(), self.server.token.encode()):
            where = f"expected the address that {self.server.command} printed"
            raise Refused(http.HTTPStatus.NOT_FOUND, f"no such page; {where}")
        return rest

    def _asked(self) -> Any:
        """The JSON of a POST from this page; None where its body is none. Raises Refused where it is another's."""
        origin = self.headers.get("Origin", "").lower()
        if origin not in {f"http://{host}" for host in self.server.hosts}:
            raise Refused(http.HTTPStatus.FORBIDDEN, "origin: expected this page's own")
        if self.headers.get_content_type() != "application/json":
            raise Refused(http.HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "content type: expected application/json")
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > _LONGEST_BODY:
            raise Refused(http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"body: expected at most {_LONGEST_BODY} bytes")
        try:
            return parse_json(self.rfile.read(int(length)))
        except GailfeError:
            return None
