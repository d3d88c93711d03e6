"""The clock: what is left out, what is said, and that threads go back where they were."""

import os

import numpy as np
import pytest

from autobuild.cost.latency import time_call
from autobuild.cost.latency.timing import pinned, summarise
from autobuild.errors import CostError


def test_disturbed_passes_are_left_out_and_counted():
    wall = np.array([1.1, 1.0, 9.0, 1.2, 1.0, 8.0, 1.1, 1.1])
    timing = summarise(wall, wall > 5)
    assert timing.median == pytest.approx(1.1)
    assert (timing.passes, timing.disturbed, timing.processor) == (8, 2, False)
    assert timing.q10 <= timing.median <= timing.q90 < 2
    assert not timing.warnings


def test_where_all_were_disturbed_processor_time_counts_and_it_is_said():
    wall, busy = np.full(20, 9.0), np.linspace(1.0, 1.02, 20)
    timing = summarise(wall, np.full(20, True), busy)
    assert timing.processor
    assert timing.median == pytest.approx(1.01)
    assert "20 of 20 passes were disturbed" in timing.warnings[0]


def test_drift_is_told_from_noise():
    steady = 1 + 0.02 * np.random.default_rng(0).standard_normal(60)
    undisturbed = np.zeros(60, dtype=bool)
    assert abs(summarise(steady, undisturbed).drift) < 0.03
    drifting = summarise(steady * np.linspace(1, 1.4, 60), undisturbed)
    assert 0.15 < drifting.drift < 0.4
    assert "drift of +" in drifting.warnings[0]


def test_passes_are_counted_after_the_warm_up():
    calls = []
    timing = time_call(lambda: calls.append(0), passes=7, warmup=3)
    assert len(calls) == 10
    assert timing.passes == 7
    assert 0 < timing.q10 <= timing.median <= timing.q90
    with pytest.raises(CostError, match="passes=0"):
        time_call(lambda: None, passes=0)


def test_a_longer_call_takes_longer():
    few, many = np.ones(20_000), np.ones(400_000)
    assert time_call(lambda: many.sum(), 30).q10 > 3 * time_call(lambda: few.sum(), 30).q10


def test_outliers_of_several_threads_are_told_by_their_distance():
    ticks = iter([0.0] * 100)
    timing = time_call(lambda: next(ticks), passes=50, warmup=0, single_thread=False)
    assert timing.disturbed < 25
    assert not timing.processor


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="threads cannot be pinned here")
def test_a_pinned_thread_goes_back():
    before = os.sched_getaffinity(0)
    with pinned() as cores:
        assert os.sched_getaffinity(0) == set(cores)
        assert len(cores) == 1
    assert os.sched_getaffinity(0) == before
    with pytest.raises(CostError, match="may use"), pinned([4096]):
        pass
    assert os.sched_getaffinity(0) == before
