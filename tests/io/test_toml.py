from __future__ import annotations

import tomllib

import pytest

from gailfe_jax.io.toml import toml_text


def test_a_record_is_written_as_people_write_it():
    record = {
        "algo": "gail",
        "method": {"policy": {"hidden": [64, 64], "max_kl": 0.01, "model": {"kind": "mlp"}}, "n": 3},
    }
    assert toml_text(record) == (
        'algo = "gail"\n\n[method]\nn = 3\n\n[method.policy]\nhidden = [64, 64]\nmax_kl = 0.01\n\n'
        '[method.policy.model]\nkind = "mlp"\n'
    )
    assert toml_text({"a": {"b": {"on": True}}}) == "[a.b]\non = true\n"


@pytest.mark.parametrize(
    "value",
    [
        *(0, -3, 2**63 - 1, 0.5, -1e-300, 1e16, 1e300, 5e-5, 1 / 3, True, False),
        *("", "-log_d", 'a "quoted" \\ word', "two\nlines\t.", "\x00\x1f\x7f", "größer 𝕏"),
        *([], [1, 2], [0.5, 1e-9], ["a", 'b"'], {}, {"x": {}}),
    ],
)
def test_what_is_written_reads_back(value):
    record = {"first": 1, "table": {"value": value, "other": 2}, "last": {"inner": {"value": value}}}
    again = tomllib.loads(toml_text(record))
    assert again == record
    assert type(again["table"]["value"]) is type(value)


@pytest.mark.parametrize("value", [None, object(), {1, 2}, [None]])
def test_what_toml_cannot_hold_is_refused(value):
    with pytest.raises(TypeError, match="is no value of a TOML file"):
        toml_text({"value": value})
