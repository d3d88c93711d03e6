"""Costs as a plug-in: found in an installed package, refused by name, conforming."""

import subprocess
import sys
from pathlib import Path

import pytest

import autobuild as ab
from autobuild.cost import cost_names, make_cost, metric_units, register_cost
from autobuild.cost.registry import TIMED, checked, metric_sources
from autobuild.errors import ConfigError, CostError
from autobuild.registry import COSTS
from autobuild.testing import CostConformance

PACKAGE = Path(__file__).with_name("example_package")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder into which pip has installed the example package."""
    pytest.importorskip("hatchling")
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*command, "--target", str(target), str(PACKAGE)], check=True, capture_output=True)
    return target


@pytest.fixture
def package(installed, monkeypatch):
    monkeypatch.syspath_prepend(str(installed))
    yield
    for name in ("deepest_path", "deepest_path_broken"):
        sys.modules.pop(name, None)


def test_a_package_is_found_without_an_import(package):
    assert "deepest_path" not in sys.modules
    assert cost_names()[:4] == ["params", "macs", "activation_peak_bytes", "roofline"]
    assert "deepest_path" in cost_names()
    cost = make_cost("deepest_path")
    graph = ab.graph_of(ab.space("nas_bench_macro"), "11111111")
    assert cost(graph) == {"deepest_path": 1 + 8 * 3 + 1 + 1, "widest_conv": 1280}
    assert metric_sources()["widest_conv"] == "deepest_path"


def test_what_is_wrong_with_a_package_is_said_by_name_and_harms_no_other(package, caplog):
    with pytest.raises(ConfigError, match=r"broken_on_import of the package deepest-path .*another machine"):
        make_cost("broken_on_import")
    with pytest.raises(
        ConfigError, match=r"no_cost_at_all of the package deepest-path .*it has no text attribute name"
    ):
        make_cost("no_cost_at_all")
    assert {"params", "deepest_path"} <= set(metric_sources())
    assert "another machine" in caplog.text


def test_without_the_package_the_name_is_unknown():
    with pytest.raises(ConfigError, match=r"cost='rooflin': unknown cost: did you mean 'roofline'"):
        make_cost("rooflin")
    with pytest.raises(ConfigError, match=r"hardware=edge: unknown name: did you mean 'edge_npu'"):
        make_cost("roofline", "edge")


def test_registering_in_the_process(own_plugins):
    @register_cost("nodes")
    class Nodes:
        name, unit = "nodes", "1"

        def __call__(self, graph):
            return {"nodes": len(graph)}

    assert metric_units(make_cost("nodes")) == {"nodes": "1"}
    for taken, problem in (("macs", "is built in"), ("my cost", "accepted: letters")):
        with pytest.raises(ConfigError, match=problem):
            register_cost(taken)(Nodes)


def test_what_a_cost_owes_is_checked():
    cost = make_cost("roofline")
    with pytest.raises(
        CostError, match=r"returned \['roofline_ms'\], declared \['roofline_mj', 'roofline_ms'\]"
    ) as error:
        checked(cost, {"roofline_ms": 1.0}, "x")
    assert error.value.reason == "no_value"
    with pytest.raises(CostError, match="roofline_mj is nan"):
        checked(cost, {"roofline_ms": 1.0, "roofline_mj": float("nan")}, "x")


@pytest.mark.parametrize("name", [name for name in COSTS if name not in TIMED])
class TestBuiltIn(CostConformance):
    @pytest.fixture
    def cost(self, name):
        return make_cost(name)


class TestOfThePackage(CostConformance):
    @pytest.fixture
    def cost(self, package):
        return make_cost("deepest_path")


def test_all_costs_of_architectures_as_a_table():
    space = ab.space("tiny_mbconv")
    archs, costs = space.sample(3, seed=0), ab.costs(space)
    table = costs.table(archs)
    assert table.columns.tolist()[:3] == ["arch", "params", "macs"]
    assert {"activation_peak_bytes", "roofline_ms", "dram_bytes"} < set(table)
    assert not [name for name in table if name.startswith("latency")]  # nothing is run unasked
    assert table["arch"].tolist() == [arch.text for arch in archs]
    for name in table.columns[1:]:
        assert table[name].tolist() == costs[name](archs).tolist()
    assert costs.table(archs[0:1], ["macs"]).columns.tolist() == ["arch", "macs"]
    with pytest.raises(ConfigError, match="tiny_mbconv has no cost 'mac': did you mean 'macs'"):
        costs.table(archs, ["mac"])
