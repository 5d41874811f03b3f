"""Serves the page: on this machine only, to who knows the token in its address, and to no page of another origin.

A page of somebody else's may be open in the same browser. It does not know the token. It cannot make a name of its own
mean this machine, for the Host header is checked. And what changes something must come with this page's own Origin.
"""

from __future__ import annotations

import hmac
import http
import importlib.resources
import json
import secrets
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from gailfe_jax.annotate.film import Film, describe, observations
from gailfe_jax.annotate.session import Label, Session
from gailfe_jax.errors import GailfeError, refusal
from gailfe_jax.io.json_text import parse_json

HOST = "127.0.0.1"
_LONGEST_BODY = 4096
_FILES = {
    "": ("index.html", "text/html; charset=utf-8"),
    "style.css": ("style.css", "text/css; charset=utf-8"),
    "page.js": ("page.js", "text/javascript; charset=utf-8"),
    "curves.js": ("curves.js", "text/javascript; charset=utf-8"),
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_DROPPED = "private, no-store"
_KEPT = "private, max-age=86400, immutable"
"""For pictures: a step's never changes, and the token makes their addresses new in each session."""


class Server(ThreadingHTTPServer):
    """Serves one session.

    Args:
      session: the decisions.
      film: the pictures.
      port: to listen on; 0 takes a free one.

    Attributes:
      url: the page's address, which holds the token: who has it can read and label the episodes.

    Raises:
      GailfeError: the port is taken, or no port.
    """

    daemon_threads = True
    # Else a second server could take the port of one that runs.
    allow_reuse_address = sys.platform != "win32"

    def __init__(self, session: Session, film: Film, port: int = 0):
        if not 0 <= port <= 65535:
            raise GailfeError(f"port: got {port}; expected 0 to 65535")
        self.session, self.film = session, film
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

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the midst of an answer is no error."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Refused(Exception):
    """An answer other than 200: `args` are its status and its words."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "gailfe", ""
    timeout = 60
    server: Server

    def do_GET(self) -> None:
        self._respond(self._get)

    def do_POST(self) -> None:
        self._respond(self._post)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the lines would hold the token."""

    def _respond(self, answer: Callable[[str], tuple[bytes, str, str]]) -> None:
        status = http.HTTPStatus.OK
        try:
            body, kind, cache = answer(self._path())
        except _Refused as refused:
            status, words = refused.args
            body, kind, cache = json.dumps({"error": words}).encode(), "application/json", _DROPPED
            # What is left of a request that was not read would be taken for the next one.
            self.close_connection = True
        except (GailfeError, OSError) as error:
            status = http.HTTPStatus.UNPROCESSABLE_ENTITY
            body, kind, cache = json.dumps({"error": refusal(error)}).encode(), "application/json", _DROPPED
        self.send_response(status)
        for name, value in (_HEADERS | {"Content-Type": kind, "Cache-Control": cache}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def _path(self) -> str:
        """What is asked for, behind the token. Raises _Refused where host or token are not ours."""
        if self.headers.get("Host", "").lower() not in self.server.hosts:
            raise _Refused(http.HTTPStatus.FORBIDDEN, "host: expected this machine")
        token, slash, rest = self.path.removeprefix("/").partition("/")
        # In constant time: how long it takes tells nothing of the token.
        if not slash or not hmac.compare_digest(token.encode(), self.server.token.encode()):
            raise _Refused(http.HTTPStatus.NOT_FOUND, "no such page; expected the address that gailfe annotate printed")
        return rest

    def _get(self, path: str) -> tuple[bytes, str, str]:
        if path in _FILES:
            name, kind = _FILES[path]
            return importlib.resources.files("gailfe_jax.annotate").joinpath("page", name).read_bytes(), kind, _DROPPED
        words = path.split("/")
        if path == "session":
            return _json(describe(self.server.film, self.server.session) | self._state())
        if len(words) == 2 and words[0] == "about":
            return _json(self.server.film.about(_number(words[1])))
        if len(words) == 2 and words[0] == "observed":
            episode = self.server.session.episode(_number(words[1]))
            reward = () if episode.reward is None else (episode.reward,)
            numbers = np.concatenate([observations(episode).ravel(), *reward]).astype("<f4")
            return numbers.tobytes(), "application/octet-stream", _KEPT
        if len(words) == 3 and words[0] == "picture":
            return self.server.film.picture(_number(words[1]), _number(words[2])), "image/jpeg", _KEPT
        raise _Refused(http.HTTPStatus.NOT_FOUND, "no such page")

    def _post(self, path: str) -> tuple[bytes, str, str]:
        origin = self.headers.get("Origin", "").lower()
        if origin not in {f"http://{host}" for host in self.server.hosts}:
            raise _Refused(http.HTTPStatus.FORBIDDEN, "origin: expected this page's own")
        if self.headers.get_content_type() != "application/json":
            raise _Refused(http.HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "content type: expected application/json")
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > _LONGEST_BODY:
            raise _Refused(http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"body: expected at most {_LONGEST_BODY} bytes")
        body = self.rfile.read(int(length))
        if path != "label":
            raise _Refused(http.HTTPStatus.NOT_FOUND, "no such page")
        try:
            asked = parse_json(body)
        except GailfeError:
            asked = None
        if not isinstance(asked, dict) or not _whole(asked.get("episode")):
            raise _Refused(http.HTTPStatus.BAD_REQUEST, "label: expected an object with episode and label")
        kind, step = asked.get("label"), asked.get("step")
        if not (kind is None or isinstance(kind, str)) or not (step is None or _whole(step)):
            raise _Refused(http.HTTPStatus.BAD_REQUEST, "label: expected a word, and step a whole number")
        self.server.session.decide(asked["episode"], None if kind is None else Label(kind, step))
        return _json(self._state())

    def _state(self) -> dict[str, Any]:
        session = self.server.session
        labels = {str(number): [label.kind, label.step] for number, label in session.labels.items()}
        return {"labels": labels, "problem": self.server.film.problem}


def _json(content: dict[str, Any]) -> tuple[bytes, str, str]:
    return json.dumps(content).encode(), "application/json", _DROPPED


def _number(word: str) -> int:
    if not word.isdecimal() or len(word) > 9:
        raise _Refused(http.HTTPStatus.NOT_FOUND, "no such page")
    return int(word)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
