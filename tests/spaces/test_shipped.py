"""The spaces that ship: conformance, and the sizes that the papers print."""

import pytest

import autobuild as ab
from autobuild.spaces import Identity
from autobuild.testing import SearchSpaceConformance


class TestMbv3(SearchSpaceConformance):
    @pytest.fixture
    def space(self):
        return ab.space("ofa_mbv3")


class TestProxyless(SearchSpaceConformance):
    @pytest.fixture
    def space(self):
        return ab.space("ofa_proxyless")


class TestProxylessJoined(SearchSpaceConformance):
    @pytest.fixture
    def space(self):
        return ab.space("ofa_proxyless").join_units("stage5", "stage6")


class TestTinyMbconv(SearchSpaceConformance):
    @pytest.fixture
    def space(self):
        return ab.space("tiny_mbconv")


class TestNarrowed(SearchSpaceConformance):
    @pytest.fixture
    def space(self):
        return ab.space("ofa_mbv3").restrict(kernel=(3, 5), depth=(2, 3))


class TestNarrowedThenJoined(SearchSpaceConformance):
    @pytest.fixture
    def space(self):
        return ab.space("ofa_proxyless").restrict(depth=(1, 2), expand=6).join_units("stage5", "stage6")


class TestWithoutSeparators(SearchSpaceConformance):
    """NAS-Bench-Macro's published key: eight digits in stages of 2, 3 and 3 layers."""

    @pytest.fixture
    def space(self):
        return macro()


def macro():
    return ab.sequence_space(
        "macro",
        units={"s1": 2, "s2": 3, "s3": 3},
        features={"op": [0, 1, 2]},
        text="{op}",
        layer_separator="",
        unit_separator="",
        identity={"op": 0, "first_layer_counts": True},
    )


def test_sizes_match_the_papers():
    mbv3, proxyless = ab.space("ofa_mbv3"), ab.space("ofa_proxyless")
    assert [unit.size for unit in mbv3.units] == [9**2 + 9**3 + 9**4] * 5 == [7371] * 5
    assert mbv3.size == 7371**5 == 21758655492572485851
    assert proxyless.size == 7371**5 * 9
    joined = proxyless.join_units("stage5", "stage6")
    assert sum(unit.size for unit in joined.units) == 95823
    assert joined.units[-1].depths == (3, 4, 5)
    assert joined.size == proxyless.size
    assert joined.units[-1].name == "stage5+stage6"
    assert ab.space("tiny_mbconv").size >= 10**6


def test_joined_units_keep_the_text(mbv3):
    joined = mbv3.join_units(0, 1, 2)
    for arch in mbv3.sample(20, seed=1):
        assert joined.parse(arch.text).text == arch.text
        assert joined.candidate(arch, 0).text == "|".join(arch.text.split("|")[:3])


def test_macro_space_has_the_published_number_of_distinct_networks():
    """3,969 of 6,561, as published: identity layers make twins, but a stage's first layer never is one."""
    space = macro()
    assert space.size == 6561
    archs = [space.assemble((a, b, c)) for a in range(9) for b in range(27) for c in range(27)]
    assert len({space.key(arch) for arch in archs}) == 3969
    assert space.key(space.parse("10101201")) == space.key(space.parse("10110201"))
    assert space.key(space.parse("01111111")) != space.key(space.parse("10111111"))
    assert space.identity == Identity({"op": 0}, True)


def test_realised_tiny_network_has_the_declared_layers():
    torch = pytest.importorskip("torch")
    space = ab.space("tiny_mbconv")
    arch = space.sample(1, seed=3)[0]
    net = space.realise(arch, num_classes=7)
    assert net(torch.zeros(2, 1, 20, 20)).shape == (2, 7)
    small, large = (space.realise(text) for text in ("e1k1s0|e1k1s0|e1k1s0", "e3k5s1-e3k5s1|e3k5s1|e3k5s1"))
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in large.parameters())


def test_realise_names_the_spaces_that_can(small_space):
    with pytest.raises(ab.AutobuildError, match="tiny_mbconv"):
        small_space.realise(small_space.sample(1)[0])
