"""Spaces of one's own, registered as objects; and names that lend no networks to another space."""

from types import SimpleNamespace

import pytest

import autobuild as ab
from autobuild.cost import costs_of, count_macs, count_params
from autobuild.errors import SpaceError
from autobuild.spaces import Feature, SearchSpace, Stage, Unit
from autobuild.spaces.blocks import Conv, count

pytestmark = pytest.mark.usefixtures("own_plugins")


def declared(kernels=(1, 3), **more):
    """Two convolutions of one input, summed."""

    def realise(layers, num_classes=10, in_channels=3):
        from torch import nn

        from autobuild.spaces.modules import Residual

        left, right = (Conv(in_channels, num_classes, layer["kernel"]).module() for (layer,) in layers)
        return nn.Sequential(Residual(left, right))

    def tallies(layers, num_classes, in_channels, size):
        return {f"p{i}": [count([Conv(in_channels, num_classes, layer["kernel"])], size)]
                for i, (layer,) in enumerate(layers)}  # fmt: skip

    stages = [Stage(f"p{i}", (1,), (Feature("kernel", kernels),), "k{kernel}") for i in range(2)]
    space = SearchSpace("two_paths", [Unit(stage.name, [stage]) for stage in stages], joins=[])
    return SimpleNamespace(SPACE=space, INPUT_SHAPE=(3, 8, 8), realise=realise, **{"tallies": tallies, **more})


def test_a_registered_space_is_known_by_its_name_everywhere(tmp_path):
    mine = ab.register_space(declared(COSTS={"work": {"macs": 2, "normed": 1}}))
    space = ab.space("two_paths")
    assert space is mine.SPACE
    assert "two_paths" in ab.space_names()
    archs = space.sample(4, seed=0)
    costs = costs_of(space)
    nets = [space.realise(arch) for arch in archs]
    assert costs["params"](archs).tolist() == [count_params(net) for net in nets]
    assert costs["macs"](archs).tolist() == [count_macs(net, (3, 8, 8)) for net in nets]
    assert (costs["work"](archs) == 2 * costs["macs"](archs) + 2 * 10 * 64).all()
    path = tmp_path / "small.json"
    path.write_text(space.restrict(kernel=3).to_json())
    small = ab.space(path)
    assert count_params(small.realise("k3|k3")) == costs["params"](["k3|k3"])[0]
    with pytest.raises(SpaceError, match=r"has no option 'width': accepted: num_classes"):
        ab.space("two_paths", width=2)


def test_without_tables_costs_are_counted_on_networks():
    ab.register_space(SimpleNamespace(**{k: v for k, v in vars(declared()).items() if k != "tallies"}))
    space = ab.space("two_paths")
    assert costs_of(space)["macs"](["k1|k3"]).tolist() == [10 * 3 * (1 + 9) * 64]


def test_registering_again_replaces():
    ab.register_space(declared())
    old = ab.space("two_paths")
    ab.register_space(declared(kernels=(1, 3, 5)))
    assert ab.space("two_paths").size == 9
    with pytest.raises(SpaceError, match="other units"):  # what was meant by the name before is no longer known
        old.realise("k1|k1")


def test_options_of_a_registered_space():
    def space(kernels=(1, 3)):
        made = declared(tuple(kernels)).SPACE
        made.options = {"kernels": list(kernels)}
        return made

    def realise(layers, num_classes=10, in_channels=3, kernels=()):
        return declared(tuple(kernels)).realise(layers, num_classes, in_channels)

    ab.register_space(SimpleNamespace(SPACE=space(), space=space, realise=realise))
    wide = ab.space("two_paths(kernels=[5, 7])")
    assert count_params(wide.realise("k5|k7")) == 30 * (25 + 49) + 2 * 20
    with pytest.raises(SpaceError, match="'p0', layer 1"):
        wide.parse("k1|k1")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (SimpleNamespace(), "has no SPACE"),
        (SimpleNamespace(SPACE="two_paths"), "has no SPACE"),
        (SimpleNamespace(SPACE=ab.sequence_space("ofa_mbv3", {"a": 1}, {"k": [1]})), "'ofa_mbv3' is built in"),
        (SimpleNamespace(SPACE=ab.sequence_space("my space", {"a": 1}, {"k": [1]})), "letters, digits and _"),
        (SimpleNamespace(SPACE=ab.space("mnasnet").restrict(kernel=3, name="mine")), "of the family 'mnasnet'"),
    ],
)
def test_what_cannot_be_registered(given, said):
    with pytest.raises(SpaceError, match=said):
        ab.register_space(given)


def test_a_python_file_is_never_run_by_its_path(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(SpaceError, match="register_space"):
        ab.space(str(path))
    assert not (tmp_path / "ran").exists()


def test_a_space_that_is_called_as_another_does_not_borrow_its_networks(tmp_path):
    """Told apart by units and joins; the same units are the same space, however they were declared."""
    path = tmp_path / "ofa_mbv3.yaml"
    lines = "name: ofa_mbv3\nunits: {{{}}}\nfeatures: {{expand: [3, 4, 6], kernel: {}}}\ntext: e{{expand}}k{{kernel}}\n"
    units = ", ".join(f"stage{s}: 2-4" for s in range(1, 6))
    for kernels, stages in [("[3, 5]", units), ("[3, 5, 7]", "stage1: 2-4")]:
        path.write_text(lines.format(stages, kernels))
        other = ab.space(path)
        with pytest.raises(SpaceError, match="other units or joins than the 'ofa_mbv3'"):
            other.realise(other.sample(1)[0])
        assert ab.costs(other) == {}
    path.write_text(lines.format(units, "[3, 5, 7]"))
    same, shipped = ab.space(path), ab.space("ofa_mbv3")
    archs = shipped.sample(3)
    assert ab.costs(same)["macs"](archs).tolist() == ab.costs(shipped)["macs"](archs).tolist()
    assert ab.costs(shipped.restrict(kernel=3).join_units(0, 1))
    rejoined = SearchSpace("ofa_mbv3", shipped.units, joins=[(0, 2), (1, 2), (2, 3), (3, 4)])
    with pytest.raises(SpaceError, match="joins"):
        rejoined.realise(archs[0].text)
    shipped_options = SearchSpace("ofa_mbv3", shipped.units, options={"depth": 3})
    with pytest.raises(SpaceError, match="other units"):
        shipped_options.realise(archs[0].text)
