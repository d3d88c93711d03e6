"""The search benchmark: what counts as an evaluation, what is reported, and what the tables say of it."""

import numpy as np
import pandas as pd
import pytest

from benchmarks import search_front, search_macro
from benchmarks.cells import problem
from benchmarks.methods import fingerprint
from benchmarks.search_tables import front_table, macro_table, narrowing_said, ratio_of


@pytest.fixture(scope="module")
def macro(published):
    return problem("macro", "mean_acc")


def network(own, place):
    """The network at a place of the true order, from 1."""
    return sorted((own.archs[row] for row in own.networks.values()), key=own.rank)[place - 1]


def test_labels_hold_none_of_the_top_and_are_the_same_for_all(macro):
    archs = search_macro.drawn(macro, 3)
    assert archs == search_macro.drawn(macro, 3)
    assert len({macro.space.key(arch) for arch in archs}) == 100
    assert min(macro.rank(arch) for arch in archs) > 3
    assert archs != search_macro.drawn(macro, 4)


def test_only_distinct_networks_after_the_labels_count(macro):
    def method(start):
        assert len(start.archs) == 100
        assert len(start.labels) == 100
        yield start.archs[0]  # labelled: costs nothing
        for rank in (50, 50, 12, 3, 50, 40, 1, 2):
            yield network(macro, rank)

    found = search_macro.measure(macro, method, 0, warm=True)
    assert (found["to_top"], found["to_best"], found["evaluated"]) == (3, 5, 5)
    assert (found["rank@5"], found["rank@1000"]) == (1, 1)

    def poor(start):
        assert start.archs == []
        yield from (network(macro, rank) for rank in (50, 60))

    found = search_macro.measure(macro, poor, 0, warm=False)
    assert (found["to_top"], found["to_best"], found["evaluated"]) == (1001, 1001, 2)


def test_a_narrowed_search_says_what_was_left_and_ends_with_it(macro):
    start = search_macro.Start(macro, 0, search_macro.drawn(macro, 0))
    steps = search_macro.narrowed("random")(start)
    first = next(steps)
    assert start.found["share"] <= 0.02
    assert start.found["holds_best"] <= start.found["holds_top"] <= start.found["near"] <= 1
    assert macro.space.key(first) not in {macro.space.key(arch) for arch in start.archs}
    found = search_macro.measure(macro, search_macro.narrowed("random"), 0, warm=True)
    assert found["evaluated"] <= start.found["new"] <= 131
    assert (found["to_top"] <= 1000) == bool(start.found["holds_top"])


def rows(cell, method, options, split, **metrics):
    names = {"cell": cell, "split": split, "method": method, "options": options}
    return [{**names, "metric": metric, "value": value} for metric, value in metrics.items()]


def test_tables_by_hand():
    options, listed = fingerprint(search_macro.OPTIONS), []
    for seed, (ours, theirs) in enumerate([(5, 50), (10, 20), (1, 1001)]):
        common = {"rank@20": 2, "seconds": 1.0}
        held = {"share": 0.0199, "near": 1, "holds_top": 1, "holds_best": seed % 2}
        listed += rows("macro_warm", search_macro.OURS, options, seed, to_top=ours, to_best=ours + 15, **common, **held)
        listed += rows("macro_warm", "random", options, seed, to_top=theirs, to_best=1001, **common)
        listed += rows("macro_cold", "random", options, seed, to_top=theirs, to_best=1001, **common)
    frame = pd.DataFrame(listed)
    table = macro_table(frame, True).set_index("method")
    assert table.loc[search_macro.OURS, "evaluations to a top 3"] == "5 (3 to 7.5)"
    assert table.loc[search_macro.OURS, "a top 3 within 20"] == "100%"
    assert table.loc[search_macro.OURS, "the best within 20"] == "67%"
    assert table.loc["random", "evaluations to the best"].startswith("over 1,000")
    assert table.loc["random", "ours / theirs, to a top 3"].startswith("0.1 (0.000999 to 0.5)")
    cold = macro_table(frame, False).set_index("method")
    assert cold.loc["random", "ours / theirs, to a top 3"].startswith("2.1 (")  # 105 / 50
    assert "1.99%" in narrowing_said(frame)
    assert "33% the best" in narrowing_said(frame)


def test_the_ratio_is_a_median_with_its_interval():
    ours, theirs = pd.Series([1.0, 2.0, 3.0]), pd.Series([2.0, 2.0, 2.0])
    assert ratio_of(ours, theirs) == (1.0, 0.5, 1.5)


def test_volume_and_front_table_by_hand():
    own = search_front.Truth(None, (), np.array([0.0, -10.0]), np.array([1.0, 0.0]))
    assert own.volume(np.array([[1.0, 0.0]])) == pytest.approx(1.1**2)
    assert own.volume(np.array([[1.0, -10.0], [0.0, 0.0]])) == pytest.approx(2 * 1.1 * 0.1 - 0.01)
    options, listed = fingerprint(search_front.OPTIONS), []
    for seed in range(3):
        for name, more in ((search_front.OURS, 0.1), ("random", 0.0)):
            volumes = {f"volume@{n}": 1.0 + more + n / 1000 for n in search_front.AT}
            listed += rows("front", name, options, seed, seconds=1.0, **volumes)
    table = front_table(pd.DataFrame(listed)).set_index("method")
    assert table.loc["random", "ours less theirs"].startswith("+0.1000")
    assert table.loc["random", "volume after 250"] == "1.2500 ± 0.0000"
