"""Sums over kernels against a runtime whose times are known, and calibration, files and refusals."""

import json

import numpy as np
import pytest
from simulated import FUSED, SimulatedTable

from autobuild.cost.latency import Calibration, Lookup, calibrate, find_rules, rules_frame, rules_of
from autobuild.cost.latency.lookup import COUNTS
from autobuild.errors import ConfigError, CostError


@pytest.fixture(scope="module")
def known(tiny, cells):
    """A table of the simulated runtime, its rules, and the networks."""
    table = SimulatedTable()
    evidence = find_rules([*tiny, *cells], table, rounds=1)
    networks = [*tiny, *cells]
    table.measure([network.whole for network in networks], 1)
    return table, evidence, networks


def test_rules_are_those_of_the_runtime(known):
    _, evidence, _ = known
    assert rules_of(evidence) == {"+".join(pair) for pair in FUSED}
    frame = rules_frame(evidence)
    assert set(frame["pattern"]) >= {"Conv+Add", "Conv+HardSwish", "AveragePool+Add", "Add+Relu"}
    assert (frame.loc[frame["is_rule"], "share"] < 0.2).all()
    assert frame.loc[~frame["is_rule"], "share"].min() > 0.8


def errors(known, count):
    table, evidence, networks = known
    lookup = Lookup(table, rules_of(evidence), count=count, measure=True, rounds=1)
    truth = np.array([table.time_ms(network.key) for network in networks])
    return lookup.sums(networks) / (truth - 0.005) - 1


def test_sums_in_context_telescope_to_the_networks_time(known):
    errs = {count: np.abs(errors(known, count)) for count in COUNTS}
    assert errs["context"].max() < 0.03
    assert errs["kernels"].min() > errs["context"].max()
    assert np.median(errs["operators"]) > np.median(errs["kernels"]) > 0.1


def test_more_hops_are_nearer(known):
    table, evidence, networks = known
    truth = np.array([table.time_ms(network.key) for network in networks])
    found = []
    for hops in (1, 3):
        lookup = Lookup(table, rules_of(evidence), hops=hops, measure=True, rounds=1)
        found.append(np.abs(lookup.sums(networks) / (truth - 0.005) - 1).mean())
    assert found[1] <= found[0]
    assert found[1] < 0.01


def test_explained_kernels_add_up(known):
    table, evidence, networks = known
    lookup = Lookup(table, rules_of(evidence), Calibration(0.1, 1.1), measure=True, rounds=1)
    frame = lookup.explain(networks[0])
    assert frame["latency_ms"].sum() + 0.1 == pytest.approx(lookup.latency_ms(networks[:1])[0])
    assert "Conv+Relu" in set(frame["kernel"])


def test_an_unknown_kernel_is_refused_and_never_zero(tiny):
    table = SimulatedTable()
    lookup = Lookup(table, rounds=1)
    lookup.fill(tiny[:1])
    assert lookup.sums(tiny[:1])[0] > 0
    other = next(network for network in tiny if network.key != tiny[0].key)
    with pytest.raises(CostError, match=r"lacks '.*(Conv|HardSwish).*not counted as zero"):
        lookup.sums([other])
    with pytest.raises(ConfigError, match="did you mean 'context'"):
        Lookup(table, count="contxt")


def test_a_calibration_is_found_again_and_does_not_go_below_zero():
    sums = np.array([1.0, 2.0, 5.0, 9.0])
    weights = np.array([3.0, 1.0, 2.0, 2.5])
    fitted = calibrate(sums, weights, 0.3 + 1.2 * sums + 0.05 * weights)
    assert (fitted.intercept_ms, fitted.factor, fitted.ms_per_mb) == pytest.approx((0.3, 1.2, 0.05))
    assert fitted.networks == 4
    assert fitted.error == pytest.approx(0, abs=1e-9)
    assert fitted.apply([1.0], [2.0]) == pytest.approx(1.6)
    assert calibrate(sums, weights, 2 * sums - 0.5).intercept_ms == 0
    for bad in ([1.0, 2.0], [1.0, 2.0, 0.0]):
        with pytest.raises(CostError, match="3 or more, all positive"):
            calibrate(bad, bad, bad)


def test_a_lookup_is_written_and_read(tmp_path):
    table = SimulatedTable()
    lookup = Lookup(table, frozenset({"Conv+Relu"}), Calibration(0.1, 1.1, 0.0, 20, 0.02), "kernels", 2, rounds=3)
    lookup.write(tmp_path / "lookup.json")
    assert Lookup.read(tmp_path / "lookup.json", table) == lookup
    for text in ("{", json.dumps({"format": 99}), json.dumps({"format": 1})):
        (tmp_path / "lookup.json").write_text(text)
        with pytest.raises(CostError, match=r"lookup\.json"):
            Lookup.read(tmp_path / "lookup.json", table)
