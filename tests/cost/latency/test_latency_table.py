"""The table survives kills, is refused where it is damaged or another machine's, and never makes a time up."""

import json

import numpy as np
import pytest
from simulated import SimulatedTable

from autobuild.cost.latency import LatencyTable
from autobuild.errors import CostError


def test_a_real_fragment_is_timed_and_kept(tmp_path, tiny):
    path = tmp_path / "deep" / "table.json"
    table = LatencyTable(path)
    fragments = [tiny[0].fragment([0]), tiny[0].whole]
    seen = []
    table.measure(fragments, 2, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    again = LatencyTable(path)
    assert len(again) == 2
    for fragment in fragments:
        assert again.rounds(fragment.key) == 2
        assert again.time_ms(fragment.key) == table.time_ms(fragment.key)
        assert 0 < again.time_ms(fragment.key) <= again.median_ms(fragment.key) * 1.5
    assert again.time_ms(tiny[0].key) > 3 * again.time_ms(fragments[0].key)
    assert len(again.drift()) == 2
    assert [file.name for file in path.parent.iterdir()] == ["table.json"]


class Killed(Exception):
    pass


def test_what_was_measured_is_not_measured_again(tmp_path, tiny):
    path = tmp_path / "table.json"
    fragments = [tiny[0].fragment([number]) for number in range(6)]

    class Counting(SimulatedTable):
        timed = 0

        def time(self, fragment):
            Counting.timed += 1
            if Counting.timed == 9:
                raise Killed
            return super().time(fragment)

    distinct = len({fragment.key for fragment in fragments})
    with pytest.raises(Killed):
        Counting(path).measure(fragments * 2, 3)
    kept = LatencyTable(path)
    assert [kept.rounds(fragment.key) for fragment in fragments] == [1] * len(fragments)
    Counting.timed = 100
    Counting(path).measure(fragments, 3)
    assert Counting.timed == 100 + 2 * distinct
    assert LatencyTable(path).drift() == [1.0, 1.0, 1.0]


def test_the_lower_quartile_forgets_a_busy_hour(tiny):
    table = LatencyTable()
    fragment = tiny[0].fragment([0])

    class Busy(SimulatedTable):
        factors = iter([1.0, 1.01, 3.0, 1.02, 2.0])

        def time(self, fragment):
            timing = super().time(fragment)
            factor = next(self.factors)
            return type(timing)(timing.median * factor, timing.q10 * factor, timing.q90, 1, 0, 0.0)

    table = Busy()
    table.measure([fragment], 5)
    quiet = SimulatedTable().time(fragment).q10
    assert table.time_ms(fragment.key) == pytest.approx(1.01 * quiet, rel=1e-3)
    assert table.spread(fragment.key) == pytest.approx(0.99 / 1.02, rel=1e-2)
    assert np.argmax(table.drift()) == 2


def test_another_machines_table_is_read_but_not_added_to(tmp_path, tiny):
    path = tmp_path / "table.json"
    table = SimulatedTable(path)
    table.measure([tiny[0].fragment([0])], 1)
    data = json.loads(path.read_text())
    data["machine"]["processor"] = "a phone"
    path.write_text(json.dumps(data))
    foreign = SimulatedTable(path)
    assert not foreign.is_of_this_machine
    assert foreign.time_ms(tiny[0].fragment([0]).key) == table.time_ms(tiny[0].fragment([0]).key)
    with pytest.raises(CostError, match="measured elsewhere"):
        foreign.measure([tiny[0].whole], 1)
    with pytest.raises(CostError, match="no fragment"):
        foreign.time_ms(tiny[0].key)


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 2}', '{"format": 1, "machine": {}}',
                                  '{"format": 1, "machine": {}, "fragments": {"a": {"text": "", "q10": [0], '
                                  '"median": [1]}}}'])  # fmt: skip
def test_a_damaged_file_is_refused(tmp_path, text):
    (tmp_path / "table.json").write_text(text)
    with pytest.raises(CostError, match=r"table\.json"):
        LatencyTable(tmp_path / "table.json")


def test_an_operator_that_the_runtime_lacks_is_named(tiny):
    from onnx import TensorProto, helper

    from autobuild.cost.latency import Fragment

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Frobnicate", ["x"], ["y"], domain="mine")], "g", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("mine", 1)], ir_version=8)
    with pytest.raises(CostError, match="refuses the operators 'Frobnicate'"):
        LatencyTable().measure([Fragment("f", "Frobnicate", {"x": (1, 4)}, model.SerializeToString)], 1)
