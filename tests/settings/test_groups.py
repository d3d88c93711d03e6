"""Config groups: what ships is declared as it is implemented."""

from __future__ import annotations

import pytest

from autobuild.settings.groups import groups

RENAMED = {("ranking", "share"): "weight"}  # the weight of the term in the model's loss is called so


@pytest.mark.parametrize("name", ["ranking", "sampler", "executor"])
def test_declared_options_and_defaults_are_those_of_the_signatures(name: str) -> None:
    group, compared = groups()[name], 0
    for member in group.registry.shipped():
        signature = {key: parameter.default for key, parameter in group.registry.parameters(member).items()}
        values = {key: value for key, value in group.values(member).items() if f"{name}.{key}" != group.kind}
        if name == "ranking":
            del values["weight"]
        for key, default in values.items():
            assert signature[RENAMED.get((name, key), key)] == default, (member, key)
            compared += 1
    assert compared >= 7


def test_every_declared_member_exists() -> None:
    for group in groups().values():
        assert set(group.declared) <= set(group.members)
        assert all(len(group.about(member)) > 5 for member in group.members)
