"""`gailfe annotate` as a command."""

from __future__ import annotations

import pathlib
import re
import urllib.parse
import urllib.request

import pytest

from gailfe_jax.annotate.server import Server
from gailfe_jax.annotate.session import Label
from gailfe_jax.cli.main import main
from tests.data.made import make_demonstrations


@pytest.fixture
def folder(tmp_path, monkeypatch):
    make_demonstrations().save(tmp_path / "demos.npz")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_is_there_until_the_session_ends(folder, monkeypatch, capsys):
    opened = []

    def serve(server):
        import threading

        thread = threading.Thread(target=server.handle_request)
        thread.start()
        opened.append(urllib.request.urlopen(server.url, timeout=10).read())
        thread.join()
        server.session.decide(1, Label("failed"))
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", serve)
    monkeypatch.setattr("webbrowser.open", lambda url: pytest.fail(f"opened {url}"))
    assert main(["annotate", "demos.npz", "--no-browser"]) == 0
    shown = capsys.readouterr()
    assert b"<title>Annotate demonstrations</title>" in opened[0]
    assert re.search(r"^demos\.npz: 5 episodes\nopen http://127\.0\.0\.1:\d+/[\w-]{43}/ ", shown.out)
    assert shown.out.endswith(
        "wrote demos-annotated.npz: 1 of 5 episodes decided (0 good, 1 failed, 0 failed from a step)\n"
    )
    assert shown.err == ""


def test_the_address_is_opened_by_a_file_that_only_its_owner_reads(folder, monkeypatch, capsys):
    seen = []

    def look(url):
        page = pathlib.Path(urllib.request.url2pathname(urllib.parse.urlparse(url).path))
        # The folder is its owner's alone.
        assert page.parent.stat().st_mode & 0o077 == 0
        seen.extend([url, page.read_text()])

    def serve(server):
        seen.append(server.url)
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", serve)
    monkeypatch.setattr("webbrowser.open", look)
    assert main(["annotate", "demos.npz"]) == 0
    opened, page, url = seen
    assert url in page and url not in opened and url.split("/")[-2] not in opened
    assert "nothing was decided, and nothing written" in capsys.readouterr().out
    assert [path.name for path in folder.iterdir()] == ["demos.npz"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("gone.npz", "gone.npz: no such file"),
        ("demos.npz --out demos.npz", "out: demos.npz is the file to annotate"),
        ("demos.npz --out x.txt", "out: got 'x.txt'; expected a file name that ends in .npz or .h5"),
        ("demos.npz --env hoper", "env: unknown task 'hoper'; did you mean hopper?"),
        ("demos.npz --port 70000", "port: got 70000; expected 0 to 65535"),
        ("demos.npz --size 1", "size: got 1; expected 64 to 2048 pixels"),
    ],
)
def test_bad_input_is_one_line(folder, capsys, words, message):
    assert main(["annotate", *words.split(), "--no-browser"]) == 2
    shown = capsys.readouterr()
    assert message in shown.err and shown.err.count("\n") == 1
    assert [path.name for path in folder.iterdir()] == ["demos.npz"]


def test_a_taken_port_is_one_line(folder, capsys):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(f"annotate demos.npz --no-browser --port {port}".split()) == 2
    shown = capsys.readouterr()
    assert f"port: {port} on 127.0.0.1 cannot be listened on" in shown.err and shown.err.count("\n") == 1
