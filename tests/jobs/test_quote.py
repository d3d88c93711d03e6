"""Free text survives Hydra's grammar and OmegaConf's interpolation exactly as typed."""

from __future__ import annotations

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from autobuild.jobs._overrides import quote

_AWKWARD = st.text(alphabet=st.sampled_from("ab1.\\'\"${}()[]|~+,=<> :#%&*?!@/-\t\néπ"), max_size=14)


def through_hydra(text: str) -> object:
    override = OverridesParser.create().parse_override(f"target={quote(text)}")
    config = OmegaConf.create({"target": override.value()})
    return OmegaConf.to_container(config, resolve=True)["target"]


def through_a_sweep(texts: list[str]) -> list[object]:
    """A sweep writes each element out again and parses it a second time."""
    parser = OverridesParser.create()
    sweep = parser.parse_override(f"target={','.join(quote(text) for text in texts)}")
    words = [f"target={element}" for element in sweep.sweep_string_iterator()]
    values = [OmegaConf.create({"target": parser.parse_override(word).value()}) for word in words]
    return [OmegaConf.to_container(config, resolve=True)["target"] for config in values]


@given(_AWKWARD)
@settings(max_examples=400, deadline=None)
@example("100*log(acc)")
@example("latency_gpu <= 8")
@example("|nor_conv_3x3~0|+|none~0|skip_connect~1|")
@example("${oc.env:HOME}")
@example("\\${x}")
@example("\\\\${x}")
@example("a\\")
@example("\\'")
@example("'")
@example("null")
@example("1e5")
def test_a_quoted_text_comes_back_as_typed(text: str) -> None:
    assert through_hydra(text) == text


@given(st.lists(_AWKWARD, min_size=2, max_size=3))
@settings(max_examples=200, deadline=None)
def test_a_sweep_over_quoted_texts_gives_each_as_typed(texts: list[str]) -> None:
    assert through_a_sweep(texts) == texts


@pytest.mark.parametrize("text", ["100*log(acc)", "a <= 8", "${x}"])
def test_unquoted_these_would_not_survive(text: str) -> None:
    """Guards the tests above: quoting is needed for these at all."""
    try:
        override = OverridesParser.create().parse_override(f"target={text}")
        came = OmegaConf.to_container(OmegaConf.create({"target": override.value()}), resolve=True)["target"]
    except (HydraException, OmegaConfBaseException):
        return
    assert came != text
