"""Cost tables over units equal the costs of whole architectures, or say why there are none."""

import time

import numpy as np
import pytest

import autobuild as ab
from autobuild.cost import additive_costs, costs_of, unit_tables
from autobuild.errors import SpaceError
from autobuild.spaces.registry import declared_by

ADDITIVE = ("nas_bench_macro", "mnasnet", "nas_bench_201", "ofa_mbv3(width=1.2)", "ofa_proxyless")


@pytest.mark.parametrize("name", ADDITIVE)
def test_tables_equal_the_costs(name):
    space = ab.space(name)
    archs = space.sample(40, seed=3, design="depth")
    indices = [space.indices(arch) for arch in archs]
    for cost, count in costs_of(space).items():
        tables = unit_tables(space, cost)
        assert tables.sizes == tuple(unit.size for unit in space.units)
        assert tables.totals(indices).tolist() == count(archs).tolist()


def test_narrowed_and_joined_spaces():
    space = ab.space("ofa_proxyless").join_units("stage5", "stage6").restrict({"stage1": np.arange(5, 300)})
    archs = space.sample(30, seed=1)
    found = unit_tables(space, "macs").totals([space.indices(arch) for arch in archs])
    assert found.tolist() == costs_of(space)["macs"](archs).tolist()


def test_what_depends_on_two_units_is_refused_by_name_and_taken_once_there_is_no_choice():
    space = ab.space("ofa_mbv3(resolution='128-224/32')")
    with pytest.raises(SpaceError, match="'stage1' costs depends on input and stage1 together"):
        unit_tables(space, "macs")
    fixed = space.restrict({"input": [2]})
    archs = fixed.sample(20, seed=0)
    found = unit_tables(fixed, "macs").totals([fixed.indices(arch) for arch in archs])
    assert found.tolist() == costs_of(space)["macs"](archs).tolist()
    tables, reasons = additive_costs(ab.space("ofa_resnet50"), ["macs"])
    assert not tables
    assert "depends on stem and stage1 together" in reasons["macs"]


def test_parameters_do_not_depend_on_the_input_size():
    space = ab.space("ofa_mbv3(resolution='128-224/32')")
    archs = space.sample(20, seed=0)
    found = unit_tables(space, "params").totals([space.indices(arch) for arch in archs])
    assert found.tolist() == costs_of(space)["params"](archs).tolist()


def test_other_reasons_are_named(monkeypatch):
    with pytest.raises(SpaceError, match="no cost 'mac': did you mean 'macs'"):
        unit_tables(ab.space("mnasnet"), "mac")
    monkeypatch.delattr(declared_by(ab.space("tiny_mbconv")), "plan")
    with pytest.raises(SpaceError, match="counted from whole networks"):
        unit_tables(ab.space("tiny_mbconv"), "params")


def test_classes_and_input_shape_are_the_callers():
    space = ab.space("mnasnet")
    archs = space.sample(5, seed=0)
    found = unit_tables(space, "macs", num_classes=10, input_shape=(3, 64, 64))
    expected = costs_of(space, num_classes=10, input_shape=(3, 64, 64))["macs"](archs)
    assert found.totals([space.indices(arch) for arch in archs]).tolist() == expected.tolist()


def test_a_large_space_takes_a_fraction_of_a_second():
    space = ab.space("ofa_mbv3")
    started = time.process_time()
    tables = unit_tables(space, "macs")
    assert time.process_time() - started < 2  # far above what it takes, for a busy machine
    assert sum(tables.sizes) == 36_855
