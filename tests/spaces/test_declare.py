"""Declaring spaces in YAML and Python, and what is said of a wrong declaration."""

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

import autobuild as ab
from autobuild.errors import SpaceError
from autobuild.spaces import SearchSpace, load_space
from autobuild.spaces.declare import space_from_yaml

GOOD = """
name: mine
about: A test
units: {first: 1-2, second: {depth: [1, 3], features: {kernel: [3]}}}
features: {kernel: [3, 5], act: [relu, swish]}
text: k{kernel}_{act}
"""


def test_a_yaml_file_works_like_a_name(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD)
    space = ab.space(str(path))
    assert [unit.size for unit in space.units] == [4 + 16, 2 + 8]
    assert space.parse("k5_relu|k3_swish").text == "k5_relu|k3_swish"
    assert space.features[0].values == (3, 5)
    with pytest.raises(SpaceError, match=r"second.*kernel=5"):
        space.parse("k5_relu|k5_swish")


def test_default_text_names_every_feature():
    space = ab.sequence_space("x", {"a": 1}, {"kernel": [3, 5], "se": [0, 1]})
    assert space.example in ("kernel3_se0", "kernel5_se0")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("name: mine\nunits: {a: 1}", "'features' is missing"),
        ("nam: mine\nunits: {a: 1}\nfeatures: {k: [1]}", "did you mean 'name'"),
        ("name: mine\nunits: {a: 0}\nfeatures: {k: [1]}", "depths"),
        ("name: mine\nunits: {a: x}\nfeatures: {k: [1]}", "depth 'x'"),
        ("name: mine\nunits: {a: {deep: 2}}\nfeatures: {k: [1]}", "did you mean 'depth'"),
        ("name: mine\nunits: {}\nfeatures: {k: [1]}", "units must map"),
        ("name: mine\nunits: {a: 1}\nfeatures: {k: []}", "no values"),
        ("name: mine\nunits: {a: 1}\nfeatures: {k: [1, 1]}", "twice"),
        ("name: mine\nunits: {a: 1}\nfeatures: {k: [[1]]}", "accepted: numbers"),
        ("name: mine\nunits: {a: 1}\nfeatures: {depth: [1]}", "reserved"),
        ("name: mine\nunits: {a: 1}\nfeatures: {score: [1]}", "reserved"),
        ("name: mine\nunits: {a: 1}\nfeatures: {hop3: [1]}", "reserved"),
        ("name: mine\nunits: {a: 1}\nfeatures: {k: [1]}\ntext: e{expand}", "must name each feature"),
        ("name: mine\nunits: {a: 1}\nfeatures: {k: [1-2, 3]}\ntext: '{k}'", "'1-2' contains the separator"),
        (
            "name: mine\nunits: {a: 1}\nfeatures: {k: [1, 11], j: [1, 11]}\ntext: '{k}{j}'",
            "two different layers the same text",
        ),
        ("name: mine\nunits: {a: 1}\nfeatures: {k: [1, 2]}\nidentity: {j: 1}", "unknown feature 'j'"),
        ("name: mine\nunits: {a: 1}\nfeatures: {k: [1, 2]}\nidentity: {k: 7}", "k=7"),
        ("name: mine\nunits: {a: 1}\nfeatures: {k: [1, 2]}\nidentity: 7", "identity maps features"),
        ("name: mine\nunits: {a: 1, b: 1}\nfeatures: {k: ['x|y', z]}\ntext: '{k}'", "unit separator"),
        ("name: mine\nunits: {a: 1, b: 1}\nfeatures: {k: [1]}\ntext: 'k|{k}'", "unit separator"),
        ("name: mine\nunits: {a: 2, b: 1}\nfeatures: {k: [1]}\nunit_separator: '-'", "unit separator"),
        ("name: mine\nunits: {a: 1}\nfeatures: {k: ['', x]}\ntext: '{k}'", "empty"),
        ("name: mine\nunits: {a: 1}\nfeatures: {k: [' a', a]}\ntext: '{k}'", "blanks"),
        ("name: mine\nunits: {a: 1}\nfeatures: {k: [1]}\ntext: 5", "not 5"),
        ("name: mine\nunits: {a: 1}\nfeatures: {k: [1]}\ntext: '{k}{'", "cannot be read"),
        ("name: mine\nunits: {a: 1}\nfeatures: {k: [1]}\ntext: '{k}{}'", "only the name of a feature"),
        ("name: mine\nunits: {a: 1}\nfeatures: {k: [1]}\ntext: '{k}{k.__class__}'", "only the name of a feature"),
        ("name: mine\nunits: {a: 1}\nfeatures: {k: [1]}\nunit_separator: 5", "unit_separator must be a text"),
        ("name: mine\nunits: {a: 1}\nfeatures: {k: [1]}\nlayer_separator: null", "layer_separator must be a text"),
        ("name: null\nunits: {a: 1}\nfeatures: {k: [1]}", "name must be a text"),
        ("name: mine\nunits: {a: 1}\nfeatures: {k: [.nan, 1]}", "finite"),
        ("name: mine\nunits: {a: 1}\nfeatures: {k: [1]}\nunits: {b: 2}", "'units' is written twice"),
        ("name: mine\nunits: {a: 1, a: 2}\nfeatures: {k: [1]}", "'a' is written twice"),
        ("name: mine\nunits: {a: 1-1000000000}\nfeatures: {k: [1]}", "at most 1,000 layers"),
        ("name: mine\nunits: {a: 1000000000}\nfeatures: {k: [1]}", "at most 1,000 layers"),
        ("name: mine\nunits: {a: 1000}\nfeatures: {k: [1, 2, 3]}", "about 1e477 architectures"),
        ("name: mine\nunits: {a: {depth: 2, tied: width}}\nfeatures: {width: [1, 2]}", "tied='width'; accepted: true"),
        ("name: mine\nunits: {a: {depth: 2, tied: 'no'}}\nfeatures: {width: [1, 2]}", "tied='no'; accepted: true"),
        ("name: mine\nunits: {a: {depth: 2, tied: 1}}\nfeatures: {width: [1, 2]}", "tied=1; accepted: true"),
        ("name: mine\nunits: {a: {depth: 2, tied: null}}\nfeatures: {width: [1, 2]}", "tied=None; accepted: true"),
        ("name: mine\nunits: {a: {depth: 2, tied: [widht]}}\nfeatures: {width: [1, 2]}", "did you mean 'width'"),
        ("name: mine\nunits: {a: {depth: 2, tied: [k, k]}}\nfeatures: {k: [1, 2]}", "tied names 'k' twice"),
        ("name: mine\nunits: {a: {depth: 2, tide: true}}\nfeatures: {k: [1, 2]}", "did you mean 'tied'"),
        ("name: mine\nunits: {a: {features: {kernal: null}}}\nfeatures: {kernel: [1, 2]}", "did you mean 'kernel'"),
        ("name: mine\nunits: {a: {text: null}}\nfeatures: {k: [1, 2]}\ntext: '{k}'", "not None"),
        ("name: mine\nunits: {a: 1}\nfeatures: {kernel: 3-7}", "only depths are ranges"),
        ("name: mine\nunits: {a: 1}\nfeatures: {true: [1, 2]}", "a feature is named True"),
        ("name: mine\nunits: {false: 1}\nfeatures: {k: [1, 2]}", "a unit is named False"),
        ("name: mine\nunits: {a: 1}\nfeatures: {op: [0, 1]}\nidentity: []", "identity maps features"),
        ("name: mine\nunits: {a: 1}\nfeatures: {op: [0, 1]}\nidentity: {first_layer_counts: true}", "maps features"),
        (
            "name: mine\nunits: {a: 1}\nfeatures: {op: [0, 1]}\nidentity: {op: 0, first_layer_counts: 'no'}",
            "first_layer_counts='no': true or false",
        ),
        ("[" * 3000, "nested too deep"),
        ("name: [1", "not readable as YAML"),
        ("- 1", "is a mapping"),
    ],
)
def test_wrong_declarations_say_what_is_accepted(tmp_path, change, said):
    path = tmp_path / "wrong.yaml"
    path.write_text(change)
    with pytest.raises(SpaceError, match=said) as caught:
        load_space(path)
    assert "wrong.yaml" in str(caught.value)


def test_plain_values_are_those_of_yaml_1_2():
    """YAML 1.1 would make booleans of no and off, 8 of 010, 90 of 1:30, and a text of 1e-3."""
    values = "[relu, no, off, 010, 1:30, 1e-3, .5, +2, true, '7']"
    space = space_from_yaml(f"name: x\nunits: {{a: 1}}\nfeatures: {{v: {values}}}\nlayer_separator: ;", "x.yaml")
    wanted = ("relu", "no", "off", 10, "1:30", 1e-3, 0.5, 2, True, "7")
    assert space.features[0].values == wanted
    assert [type(value) for value in space.features[0].values] == [type(value) for value in wanted]


def test_unknown_names_offer_the_nearest(tmp_path):
    with pytest.raises(SpaceError, match="did you mean 'ofa_mbv3'"):
        ab.space("ofa_mbv2")
    with pytest.raises(SpaceError, match="no such file"):
        ab.space(tmp_path / "absent.yaml")
    bad = tmp_path / "bad.json"
    bad.write_text("{}")
    with pytest.raises(SpaceError, match=r"bad.json.*format"):
        ab.space(bad)
    bad.write_text('{"format": "autobuild.space/1"}')
    with pytest.raises(SpaceError, match="damaged"):
        ab.space(bad)


def test_yaml_runs_no_code(tmp_path):
    path = tmp_path / "evil.yaml"
    path.write_text("!!python/object/apply:os.system ['touch hacked']")
    with pytest.raises(SpaceError, match="not readable"):
        ab.space(path)


def test_parse_errors_name_the_unit_the_layer_and_the_values(mbv3):
    good = mbv3.example
    with pytest.raises(SpaceError, match=r"'stage1', layer 2: 'e3k9'.*kernel=9.*kernel takes 3, 5, 7"):
        mbv3.parse("e3k3-e3k9|" + good.split("|", 1)[1])
    with pytest.raises(SpaceError, match="5, as in"):
        mbv3.parse("e3k3-e3k3")
    with pytest.raises(SpaceError, match=r"5 layers.*\[2, 3, 4\]"):
        mbv3.parse("-".join(["e3k3"] * 5) + "|" + good.split("|", 1)[1])


def test_restrict_refuses_what_is_not_there(mbv3):
    for wrong, said in [
        ({"kernel": 4}, "kernel is never 4"),
        ({"kernal": 3}, "did you mean 'kernel'"),
        ({"depth": 9}, "depth is never 9"),
    ]:
        with pytest.raises(SpaceError, match=said):
            mbv3.restrict(**wrong)
    with pytest.raises(SpaceError, match="no unit 'stage9'"):
        mbv3.restrict({"stage9": [0]})
    with pytest.raises(SpaceError, match="keep at least one"):
        mbv3.restrict({"stage1": []})
    with pytest.raises(SpaceError, match="7371 is not one"):
        mbv3.restrict({"stage1": [7371]})
    with pytest.raises(SpaceError, match="neighbouring"):
        mbv3.join_units(0, 2)


def test_restricting_by_value_equals_brute_force(small_space):
    small = small_space.restrict(kernel=3, depth=(1, 2), width=(1, 2))
    kept = [c.text for c in small.units[0]]
    wanted = [c.text for c in small_space.units[0] if all("k3" in layer for layer in c.text.split("-"))]
    assert kept == wanted
    assert small_space.restrict(depth=1).size == 16


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    depths=st.lists(st.sets(st.integers(1, 4), min_size=1, max_size=3), min_size=1, max_size=4),
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    data=st.data(),
)
def test_any_declared_space_round_trips(depths, sizes, data):
    """Size, index, text and JSON agree for random declarations, narrowed ones included."""
    space = ab.sequence_space(
        "any",
        {f"u{i}": sorted(d) for i, d in enumerate(depths)},
        {f"f{i}": list(range(size)) for i, size in enumerate(sizes)},
    )
    for unit in space.units:
        index = data.draw(st.integers(0, unit.size - 1))
        assert unit.index(unit.candidate(index).text) == index
    arch = space.sample(1, seed=data.draw(st.integers(0, 99)))[0]
    assert space.parse(arch.text) == arch
    kept = {u.name: sorted({i, u.size - 1}) for u, i in zip(space.units, space.indices(arch), strict=True)}
    small = SearchSpace.from_json(space.restrict(kept).to_json())
    assert small.parse(arch.text) == arch
    assert all(a in space for a in small.sample(5, seed=0))


def test_uniform_sampling_is_uniform_over_architectures(small_space):
    """A chi-square test over all 400 architectures: the statistic's 1e-6 quantile is not exceeded."""
    from collections import Counter

    from scipy.stats import chi2

    n = 20_000
    counts = Counter(arch.text for arch in small_space.sample(n, seed=5, design="uniform"))
    expected = n / small_space.size
    statistic = sum((counts.get(t, 0) - expected) ** 2 / expected for t in _all_texts(small_space))
    assert statistic < chi2.ppf(1 - 1e-6, small_space.size - 1)


def _all_texts(space):
    return [space.assemble((a, b)).text for a in range(space.units[0].size) for b in range(space.units[1].size)]


def test_huge_units_sample_without_enumeration():
    space = ab.sequence_space("huge", {"a": [30]}, {"k": list(range(10))}, text="{k}")
    assert space.size == 10**30
    assert len({a.text for a in space.sample(50, seed=0)}) == 50
    assert space.units[0].index(space.units[0].candidate(10**29 + 7)) == 10**29 + 7
