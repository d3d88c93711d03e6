"""Counts of networks beside an independent one: what explains a difference, and that none stays silent."""

from __future__ import annotations

import pandas as pd
import torch
from torch import nn

import autobuild as ab
from benchmarks import zoo
from benchmarks.runs import Run, Runs


class Net(nn.Module):
    """Two heads, of which one is for training only, and an operator that nobody counts."""

    def __init__(self):
        super().__init__()
        self.body, self.head, self.aux = nn.Conv2d(3, 4, 3), nn.Linear(4, 5), nn.Linear(4, 7)

    def forward(self, x):
        x = self.body(x)
        x = torch.fft.fft2(x).real
        return self.head(x.mean((2, 3)))


def told(monkeypatch, macs=None) -> dict[str, float]:
    """What is told of the network; ``macs``: of its convolution, in place of the true number."""
    monkeypatch.setattr(ab, "load_zoo", lambda name: Net())
    graph_of = ab.graph_of

    def changed(*given, **options):
        graph = graph_of(*given, **options)
        if macs is not None:
            node = next(node for node in graph.nodes if node.type == "conv")
            object.__setattr__(node, "macs", macs)
        return graph

    monkeypatch.setattr(ab, "graph_of", changed)
    monkeypatch.setitem(zoo.SIZES, "net", (3, 8, 8))
    return zoo.counted("timm/net")[1]


def row(tmp_path, counts, plan=None) -> pd.Series:
    runs = Runs(tmp_path / "runs.csv")
    runs.add(Run("timm/net", 0, "counts", "zoo"), counts)
    if plan:
        runs.add(Run("timm/net", 0, "fuse", "zoo"), plan)
    return zoo.table(runs.read()).iloc[0]


def test_parameters_that_nothing_reads_explain_the_difference(monkeypatch, tmp_path):
    counts = told(monkeypatch)
    assert counts["params independent"] - counts["params"] == 4 * 7 + 7
    assert counts["why params: unused parameters: aux"] == -35
    assert counts["macs"] == counts["macs independent"] == 6 * 6 * 4 * 27 + 20
    why = row(tmp_path, counts)["why"]
    assert "unused parameters: aux" in why
    assert "no rule, and torch has none: _fft_c2c x1" in why
    assert "UNEXPLAINED" not in why


def test_a_number_that_no_rule_explains_is_told_with_its_module(monkeypatch, tmp_path):
    counts = told(monkeypatch, macs=100)
    why = row(tmp_path, counts)["why"]
    assert "UNEXPLAINED" in why
    assert why.endswith("macs in body")


def test_an_operator_without_a_rule_explains_what_its_module_misses(monkeypatch, tmp_path):
    """As if convolutions had no rule."""
    counts = told(monkeypatch, macs=0)
    assert "UNEXPLAINED" in row(tmp_path, counts)["why"]
    graph, seen = ab.graph_of(Net(), (1, 3, 8, 8)), zoo._Seen()
    seen.macs.update({"body": 3888, "head": 20})
    seen.total = 3908
    object.__setattr__(next(node for node in graph.nodes if node.type == "conv"), "macs", None)
    whys, left = zoo._macs_differ(graph, seen)
    assert not left
    assert whys == [("no rule: conv2d", -3888)]


def test_a_fusion_over_its_limit_and_a_failure_are_marked(tmp_path):
    plan = {"seconds": 9.5, "proven": 0.0, "gap": 0.25}
    late = row(tmp_path, {"params": 1, "params independent": 1, "macs": 1, "macs independent": 1}, plan)
    assert late["fused in (s)"] == "9.5 OVER THE LIMIT"
    assert late["plan"] == "at most 25.00% above the bound"
    runs = Runs(tmp_path / "more.csv")
    runs.add(Run("timm/gone", 0, "counts", "zoo"), {"failed: GraphError: no": 1})
    assert zoo.table(runs.read()).iloc[0]["why"] == "failed: GraphError: no"


def test_a_process_that_dies_or_hangs_is_a_row(monkeypatch, tmp_path):
    import os
    import time

    def counted(name):
        if name == "dies":
            os._exit(3)
        time.sleep(60)

    monkeypatch.setattr(zoo, "counted", counted)
    monkeypatch.setattr(zoo, "HARD_S", 1)
    monkeypatch.setattr(zoo, "IMPORTED", ())
    runs = Runs(tmp_path / "runs.csv")
    zoo.measure(runs, ["dies", "hangs"], ["counts", "fuse"])
    frame = runs.read()
    assert dict(zip(frame["cell"], frame["metric"], strict=True)) == {
        "dies": "failed: the process ended with 3", "hangs": "failed: not back after 1 s",
    }  # fmt: skip


def test_the_list_covers_the_libraries_once():
    listed = [*zoo.TORCHVISION.split(), *(f"timm/{name}" for name in zoo.TIMM.split())]
    assert len(listed) == len(set(listed)) >= 140
