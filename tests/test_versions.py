"""The environments of `make test-versions`, without making one."""

from __future__ import annotations

import pytest

from tests import versions


def test_the_ends_of_the_range_are_those_of_pyproject():
    text = (versions.ROOT / "pyproject.toml").read_text()
    least, below = versions.bounds(text)
    found = versions.environments(text, ["python3.11", "python3.13"])
    assert (found["oldest"].python, found["oldest"].packages) == ("python3.11", [f"jax=={least}.*"])
    assert (found["newest"].python, found["newest"].packages) == ("python3.13", [f"jax<{below}"])
    assert versions.bounds('"jax>=0.10,<0.13",') == ("0.10", "0.13")
    with pytest.raises(SystemExit, match="no bounds of jax"):
        versions.bounds("jax")


def test_what_is_to_run_is_there():
    for environment in versions.environments((versions.ROOT / "pyproject.toml").read_text(), ["python3"]).values():
        paths = [word for word in environment.tests if word.startswith("tests/")]
        assert paths and all((versions.ROOT / path).exists() for path in paths)


def test_a_python_that_is_not_there_is_left_out(monkeypatch, tmp_path):
    for version, code in (("3.11", 0), ("3.12", 127)):
        shim = tmp_path / f"python{version}"
        shim.write_text(f"#!/bin/sh\nexit {code}\n")
        shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert versions.found_pythons() == [str(tmp_path / "python3.11")]


@pytest.mark.slow
def test_a_failing_environment_is_named(monkeypatch, capsys):
    monkeypatch.setattr(versions, "check", lambda environment: environment.packages != ["jax<0.13"])
    monkeypatch.setattr(versions, "bounds", lambda text: ("0.10", "0.13"))
    monkeypatch.setattr("sys.argv", ["versions.py"])
    assert versions.main() == 1 and "failed: newest" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["versions.py", "oldest"])
    assert versions.main() == 0 and "passed: oldest" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["versions.py", "old"])
    with pytest.raises(SystemExit):
        versions.main()
