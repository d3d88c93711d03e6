"""Declared settings: what is listed, what is accepted, and what messages say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from autobuild.errors import ConfigError
from autobuild.settings.option import check_settings, group, groups_of, integer, keys_of, nested, option


@dataclass
class Inner:
    rate: float = option(0.5, "a rate", ">0 <=1")
    speed: float = option(1.0, "a speed", ">0")


@dataclass
class Outer:
    n: int | None = option(None, "how many", ">=2 <=9")
    on: bool = option(True, "a switch")
    how: str = option("fast", "how", choices=("fast", "slow"))
    place: str | None = option(None, "where", kind="path")
    sizes: list[int] | None = option(None, "sizes", kind="ints")
    targets: str | list[str] = option("acc", "what", kind="texts")
    inner: Inner = nested(Inner)
    chosen: str = group("first")


KEYS = {key.name: key for key in keys_of(Outer)}


def test_every_setting_is_listed_with_its_kind_and_default() -> None:
    found = {name: (key.kind, key.nullable, key.written, key.accepted) for name, key in KEYS.items()}
    assert found == {
        "n": ("int", True, "null", "int >=2 <=9 or null"),
        "on": ("bool", False, "true", "bool"),
        "how": ("choice", False, "fast", "fast|slow"),
        "place": ("path", True, "null", "path or null"),
        "sizes": ("ints", True, "null", "ints or null"),
        "targets": ("texts", False, "acc", "texts"),
        "inner.rate": ("float", False, "0.5", "float >0 <=1"),
        "inner.speed": ("float", False, "1.0", "float >0"),
    }
    assert groups_of(Outer) == {"chosen": "first"}


@pytest.mark.parametrize(("name", "value", "returned"), [
    ("n", 2, 2), ("n", 9, 9), ("n", None, None), ("on", False, False), ("how", "slow", "slow"),
    ("sizes", [3, 4], [3, 4]), ("targets", ["acc", "-ms"], ["acc", "-ms"]), ("place", "a b", "a b"),
    ("inner.rate", 1, 1.0),
])  # fmt: skip
def test_usable_values_are_returned_in_their_type(name: str, value: object, returned: object) -> None:
    checked = KEYS[name].check(value)
    assert (checked, type(checked)) == (returned, type(returned))


@pytest.mark.parametrize(("name", "value", "wanted"), [
    ("n", 1, "n=1: unusable value (accepted: int >=2 <=9 or null)"), ("n", 10, "n=10"), ("n", 2.0, "n=2.0"),
    ("n", True, "n=true"), ("on", 1, "on=1"), ("on", None, "on=null"), ("sizes", [], "sizes"),
    ("sizes", [1.5], "sizes"), ("how", "slwo", "did you mean 'slow'"), ("place", "", "place="),
    ("targets", [""], "targets"), ("inner.rate", 1.01, "inner.rate"),
    ("inner.speed", float("inf"), "inner.speed=inf"), ("inner.speed", float("nan"), "inner.speed=nan"),
    ("inner.rate", 0.0, "inner.rate=0.0: unusable value (accepted: float >0 <=1)"),
])  # fmt: skip
def test_unusable_values_are_refused_by_name(name: str, value: object, wanted: str) -> None:
    with pytest.raises(ConfigError) as caught:
        KEYS[name].check(value)
    assert wanted in str(caught.value)


def test_an_object_is_checked_as_a_whole() -> None:
    check_settings(Outer(n=3), "outer.")
    with pytest.raises(ConfigError, match=r"outer\.inner\.rate=2"):
        check_settings(Outer(inner=Inner(rate=2)), "outer.")


def test_integers_of_numpy_become_integers_of_python() -> None:
    assert type(integer("n", np.int64(3))) is int
    for wrong in (True, 3.0, "3", None, 0, 11, np.array(3)):
        with pytest.raises(ConfigError, match=r"n=.*an integer from 1 to 10 is accepted"):
            integer("n", wrong, most=10)
