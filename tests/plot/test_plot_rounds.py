"""The best label so far over evaluations."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from autobuild import plot
from autobuild.construct.rounds import best_so_far
from autobuild.errors import ConfigError


def test_the_curve_steps_up_where_a_better_network_was_measured():
    told = pd.DataFrame({"round": [1, 1, 2, 2], "arch": list("wxyz"), "measured": [2.0, np.nan, 1.5, 4.0]})
    ax = plot.best_label(best_so_far(1.0, 20, told), "acc")
    steps = next(line for line in ax.lines if line.get_label() == "best so far")
    np.testing.assert_array_equal(steps.get_xdata(), [20, 21, 22, 23, 24])
    np.testing.assert_array_equal(steps.get_ydata(), [1, 2, 2, 2, 4])
    parted = [line.get_xdata()[0] for line in ax.lines if line is not steps]
    assert parted == [20.5, 22.5]  # where the rounds begin
    assert ax.get_ylabel() == "acc"


def test_a_column_that_is_missing_is_named():
    with pytest.raises(ConfigError, match="best"):
        plot.best_label(pd.DataFrame({"evaluations": [1], "round": [0], "measured": [1.0]}))
