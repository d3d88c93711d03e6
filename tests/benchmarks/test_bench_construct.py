from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import autobuild as ab
from benchmarks import construct, construct_tables, methods
from benchmarks.baselines import gaussian_process, ridge
from benchmarks.cells import CELLS, Problem
from benchmarks.construct import jobs, judged_by_truth, matches, measure_search, run_all
from benchmarks.construct_tables import comparisons, current, intervals, summary, verdict
from benchmarks.methods import METHODS, Method
from benchmarks.runs import COLUMNS, Run, Runs
from benchmarks.searches import SEARCHES


def runs_of(cell: str, metric: str, **values: list[float]) -> pd.DataFrame:
    rows = [
        (cell, split, name, METHODS[name].fingerprint, metric, value)
        for name, own in values.items()
        for split, value in enumerate(own)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


# --- the runs file ------------------------------------------------------------------------------------------------


def test_what_is_there_is_not_run_again_and_what_failed_is(tmp_path, monkeypatch):
    runs, called, broken = Runs(tmp_path / "runs.csv"), [], {1}

    def measured(cell, own, method, number, part):
        called.append(number)
        if number in broken:
            raise RuntimeError("planted")
        return {"srcc": 0.5, "seconds": 1.0}

    monkeypatch.setattr(construct, "measure", measured)
    monkeypatch.setattr(construct, "problem", lambda data, target: None)
    asked = list(jobs([CELLS["macro_50"]], "ridge", [0, 1, 2]))
    assert run_all(runs, iter(asked)) == 1
    broken.clear()
    assert run_all(runs, iter(asked)) == 0
    assert run_all(runs, iter(asked)) == 0
    assert called == [0, 1, 2, 1]
    assert len(runs.read()) == 6


def test_other_options_run_anew_and_old_results_leave_the_tables(tmp_path, monkeypatch):
    frame = runs_of("macro_50", "srcc", ridge=[0.5, 0.7])
    assert "0.6000" in summary(current(frame))["ridge"].iloc[0]
    before = METHODS["ridge"]
    monkeypatch.setitem(METHODS, "ridge", replace(before, options={**before.options, "revision": 99}))
    assert METHODS["ridge"].fingerprint != before.fingerprint
    assert current(frame).empty


def test_a_fingerprint_that_looks_like_a_number_reads_back(tmp_path):
    runs = Runs(tmp_path / "runs.csv")
    for options in ("12345678", "1e100000", "00000001"):
        runs.add(Run("a", 0, "b", options), {"srcc": 0.1})
    assert {run.options for run in runs.done()} == {"12345678", "1e100000", "00000001"}


# --- the tables ---------------------------------------------------------------------------------------------------


def test_the_best_baseline_is_the_one_that_ours_does_worst_against():
    ours = [0.90, 0.91, 0.92]
    frame = runs_of("macro_50", "srcc", ours=ours, ridge=[0.80, 0.81, 0.82], GP=[0.95, 0.96, 0.97])
    table = comparisons(frame).set_index("baseline")
    assert table["best"].to_dict() == {"ridge": False, "GP": True}
    assert table.loc["GP", "difference"] == pytest.approx(-0.05)
    assert not table.loc["GP", "reached"]
    assert table.loc["ridge", "reached"]
    assert "Reached: no" in verdict(comparisons(frame))
    assert "Reached: yes" in verdict(comparisons(frame[frame["method"] != "GP"]))


def test_a_smaller_rank_is_better_and_only_common_splits_are_compared():
    frame = runs_of("macro_50", "rank_seen", ours=[1, 1, 2], ridge=[3, 1, 2, 500])
    row = comparisons(frame).iloc[0]
    assert row["difference"] == pytest.approx(2 / 3)
    assert row["splits"] == 3


def test_a_proxy_does_not_judge():
    frame = pd.concat(
        [
            runs_of("mbv3_300", "srcc", ours=[0.9], ridge=[0.8]),
            runs_of("mbv3_300", "proxy", ours=[0.1], ridge=[0.2]),
        ]
    )
    assert "Reached: yes" in verdict(comparisons(frame))


def test_searches_stand_beside_the_cell_of_equal_budget():
    options = methods.fingerprint(construct_tables.SEARCH_OPTIONS)
    rows = [("macro_search", 0, "TPE", options, f"rank@{n}", float(n)) for n in (60, 110, 210)]
    table = summary(current(pd.DataFrame(rows, columns=list(COLUMNS)))).set_index("cell")
    assert [table.loc[f"macro_{n}", "TPE"].split()[0] for n in (50, 100, 200)] == ["60", "110", "210"]


def test_coverage_is_told_with_its_range():
    parts = {"coverage": [0.8, 1.0], "width": [2.0, 4.0], "label_sd": [1.0, 1.0], "seconds": [5.0, 7.0]}
    frame = pd.concat([runs_of("macro_50", metric, ours=values) for metric, values in parts.items()])
    row = intervals(frame).iloc[0]
    assert row["coverage of 90 % intervals"] == "0.900 (0.800 to 1.000)"
    assert row["0.85 to 0.95"] == "yes"
    assert row["mean width"] == "3"


def test_names_are_picked_by_patterns():
    assert matches("macro_50", "*")
    assert matches("macro_50", "accel*,macro*")
    assert not matches("macro_search", "macro*,!macro_search")
    assert matches("GP", "!ours")
    assert not matches("ours", "!ours")


# --- on published labels ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def macro(published) -> Problem:
    return Problem("macro", "mean_acc")


def test_true_ranks_run_over_distinct_networks(macro):
    ranks = sorted({macro.space.key(arch): macro.rank(arch) for arch in macro.archs}.values())
    assert len(ranks) == 3969
    assert ranks[0] == 1
    best = [arch for arch in macro.archs if macro.rank(arch) == 1]
    assert max(macro.values) == macro.value(best[0])
    found = judged_by_truth(macro, best[:1], macro.archs[:1])
    assert (found["rank_built"], found["rank_seen"]) == (1, 1)


def test_a_search_of_everything_finds_the_best(macro):
    found = measure_search(macro, SEARCHES["local search"], 1500, 0)
    assert found["rank@60"] >= found["rank@110"] >= found["rank@210"] == 1
    labels = [value for name, value in found.items() if name.startswith("label@")]
    assert labels == sorted(labels)


def test_a_method_of_the_toolkit_is_measured_and_sees_only_its_rows(macro, monkeypatch):
    given = []

    def fit(labels, target, **options):
        given.append(labels)
        return real(labels, target, config=ab.FitConfig(epochs=5), **options)

    real = ab.fit
    monkeypatch.setattr(methods.ab, "fit", fit)
    options = {"fit": {"model": "graph"}, "explain": {"scorer": "hopnorm"}}
    own = Method(methods.toolkit(options, additive=False), options)
    monkeypatch.setitem(METHODS, "ours", own)
    found = construct.measure(CELLS["macro_50"], macro, own, 3)
    rows = macro.split(CELLS["macro_50"], 3)
    assert given[0].frame["arch"].tolist() == [macro.archs[row].text for row in rows.train]
    assert found["rank_seen"] <= found["rank_built"]
    assert set(found) >= {"srcc", "coverage", "width", "seconds"}
    additive = methods.toolkit(options, additive=True)(macro, rows.train, 3)
    built = additive.build(3)
    assert np.allclose(additive.predict(built), additive.scores.build(3).scores)  # the score that it builds by


def test_several_fitters_give_the_mean_of_their_predictions(macro):
    rows = macro.split(CELLS["macro_50"], 0).train
    archs = macro.archs[:50]
    one, two, both = (
        methods.on_columns(*fitters, knowledge=True)(macro, rows, 0).predict(archs)
        for fitters in ((ridge,), (gaussian_process,), (ridge, gaussian_process))
    )
    assert np.allclose(both, (one + two) / 2)
    assert not np.allclose(one, two)
