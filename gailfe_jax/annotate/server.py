"""Answers the annotation page: the session, pictures, curves, and decisions."""

from __future__ import annotations

import http
import importlib.resources
from typing import Any, ClassVar

import numpy as np

from gailfe_jax.annotate.film import Film, describe, observations
from gailfe_jax.annotate.session import Label, Session
from gailfe_jax.web.server import KEPT, Answer, LocalServer, Refused, as_json, no_such_page

_FILES = {
    "": ("index.html", "text/html; charset=utf-8"),
    "style.css": ("style.css", "text/css; charset=utf-8"),
    "page.js": ("page.js", "text/javascript; charset=utf-8"),
    "curves.js": ("curves.js", "text/javascript; charset=utf-8"),
}


class Server(LocalServer):
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

    command: ClassVar[str] = "gailfe annotate"
    policy: ClassVar[str] = (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )

    def __init__(self, session: Session, film: Film, port: int = 0):
        self.session, self.film = session, film
        super().__init__(port)

    def get(self, path: str) -> Answer:
        if path in _FILES:
            name, kind = _FILES[path]
            return Answer(importlib.resources.files("gailfe_jax.annotate").joinpath("page", name).read_bytes(), kind)
        words = path.split("/")
        if path == "session":
            return as_json(describe(self.film, self.session) | self._state())
        if len(words) == 2 and words[0] == "about":
            return as_json(self.film.about(_number(words[1])))
        if len(words) == 2 and words[0] == "observed":
            episode = self.session.episode(_number(words[1]))
            reward = () if episode.reward is None else (episode.reward,)
            numbers = np.concatenate([observations(episode).ravel(), *reward]).astype("<f4")
            return Answer(numbers.tobytes(), "application/octet-stream", KEPT)
        if len(words) == 3 and words[0] == "picture":
            # A step's picture never changes.
            return Answer(self.film.picture(_number(words[1]), _number(words[2])), "image/jpeg", KEPT)
        raise no_such_page()

    def post(self, path: str, asked: Any) -> Answer:
        if path != "label":
            raise no_such_page()
        if not isinstance(asked, dict) or not _whole(asked.get("episode")):
            raise Refused(http.HTTPStatus.BAD_REQUEST, "label: expected an object with episode and label")
        kind, step = asked.get("label"), asked.get("step")
        if not (kind is None or isinstance(kind, str)) or not (step is None or _whole(step)):
            raise Refused(http.HTTPStatus.BAD_REQUEST, "label: expected a word, and step a whole number")
        self.session.decide(asked["episode"], None if kind is None else Label(kind, step))
        return as_json(self._state())

    def _state(self) -> dict[str, Any]:
        labels = {str(number): [label.kind, label.step] for number, label in self.session.labels.items()}
        return {"labels": labels, "problem": self.film.problem}


def _number(word: str) -> int:
    if not word.isdecimal() or len(word) > 9:
        raise no_such_page()
    return int(word)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
