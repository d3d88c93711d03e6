"""What names stand for: one table of cases, asked everywhere that takes an expression, before anything is fitted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import autobuild as ab
from autobuild.cli import main
from autobuild.errors import AutobuildError, EvaluationError, TargetError
from autobuild.expressions import Names, TargetExpression, parse_where
from autobuild.expressions.parse import renamed, split_targets

SPACE = "tiny_mbconv"  # whose costs params and macs come from tables
LABEL, COST = "label", "cost"
# Name -> where it comes from, or what an error says. `params` is repeated by a column, `macs` is another number there.
CASES = {
    "acc": (LABEL, "acc"),
    "label.acc": (LABEL, "acc"),
    "`top-1`": (LABEL, "top-1"),
    "label.`top-1`": (LABEL, "top-1"),
    "max": (LABEL, "max"),
    "cost.macs": (COST, "macs"),
    "label.macs": (LABEL, "macs"),
    "params": (COST, "params"),
    "label.params": (LABEL, "params"),
    "unfused_dram_bytes": (COST, "unfused_dram_bytes"),
    "macs": r"'macs' is a label column and a cost, .*write label\.macs or cost\.macs",
    "aac": "unknown name .* 'aac': did you mean 'acc'",
    "cost.acc": r"unknown cost 'cost\.acc'",
    "label.roofline_ms": r"unknown label column 'label\.roofline_ms'",
}
KNOWN = [name for name, meant in CASES.items() if isinstance(meant, tuple)]
WRONG = {name: meant for name, meant in CASES.items() if isinstance(meant, str)}


@pytest.fixture(scope="module")
def space():
    return ab.space(SPACE)


@pytest.fixture(scope="module")
def frame(space):
    archs = list(dict.fromkeys(space.sample(60, 1, "depth")))[:40]
    costs = ab.costs(space)
    params = costs["params"](archs).astype(float)
    acc = np.log(params) + np.arange(len(archs)) % 3 / 50
    columns = {"acc": acc, "top-1": acc + 1, "max": -acc, "params": params, "macs": costs["macs"](archs) / 1e6}
    frame = pd.DataFrame({"arch": [arch.text for arch in archs], **columns})
    frame.loc[3, "params"] = np.nan  # a missing value does not make it another number
    return frame


@pytest.fixture(scope="module")
def labels(space, frame):
    return ab.LabelledSet.from_frame(frame, space)


@pytest.fixture(scope="module")
def scores(labels):
    return ab.fit(labels, "acc", model="linear", folds=2).explain()


@pytest.fixture
def no_fit(monkeypatch):
    """Whatever fits fails the test; every fit of every room comes through one of these."""
    for kind in ("ensemble", "graph"):
        monkeypatch.setattr(f"autobuild.models.fitting.fit_{kind}", lambda *args, **options: pytest.fail("fitted"))


def unasked(arch):
    pytest.fail("a network was evaluated")


@pytest.mark.parametrize("name", KNOWN)
def test_one_meaning_for_targets_limits_and_wherever_labels_are_asked(space, labels, frame, name):
    kind, bare = CASES[name]
    costs = ab.costs(space)
    names = labels.names(costs)
    (found,) = {names.find(one, name) for one in TargetExpression.parse(name).names}
    assert found == (kind, bare)
    known = frame[bare].to_numpy() if kind == LABEL else np.asarray(costs[bare](labels.archs), dtype=float)
    usable = labels.target(name, costs)
    np.testing.assert_allclose(usable.values, known[np.isfinite(known)])
    assert usable.dropped == np.isnan(known).sum()
    (limit,) = names.limits(f"2*{name} >= 3")
    assert limit.text == f"2*{name} >= 3"
    assert [names.find(one, "") for one in limit.expression.names] == [(kind, bare)]


@pytest.mark.parametrize("name", ["label.acc", "`top-1`", "max", "cost.macs", "params", "unfused_dram_bytes"])
def test_one_meaning_in_build_and_narrow(labels, scores, name):
    _, bare = CASES[name]
    values = labels.target(name, ab.costs(labels.space)).values
    where = f"{name} <= {np.quantile(values, 0.8):.12g}"
    built = scores.build(top=2, where=where)
    assert built.where == where
    assert (built.frame[bare] <= np.quantile(values, 0.8) + 1e-9).all()
    assert scores.narrow(top=3, where=where).size <= scores.space.size


@pytest.mark.parametrize("name", ["max", "`top-1`", "params", "cost.macs"])
def test_one_meaning_in_searches_and_verification(labels, frame, name):
    """Evaluations say something else of what is a cost, and it stays the cost."""
    kind, bare = CASES[name]
    rows = frame.drop(columns="arch").to_dict("records")
    costs = ab.costs(labels.space)

    def evaluate(arch):
        return {**rows[len(str(arch)) % 40], "acc": 1.0 + len(str(arch)), "params": 1.0, "macs": 2.0}

    target, size = f"acc + 0*{name}", {"n_trials": 3, "sampler": "random", "seed": 1}
    found = ab.search(
        labels.space, evaluate, target=[target, f"-{name}"], where=f"{name} > -1e12", prior=labels, **size
    )
    own = found.evaluated
    expected = costs[bare](list(own["arch"])) if kind == COST else [evaluate(arch)[bare] for arch in own["arch"]]
    np.testing.assert_allclose(own[f"-{name}"], -np.asarray(expected, dtype=float))
    checked = ab.verify(labels.archs[:2], evaluate, labels, target=name, seeds=1)
    built = checked.frame[checked.frame["set"] == "built"]
    expected = costs[bare](list(built["arch"])) if kind == COST else [evaluate(arch)[bare] for arch in built["arch"]]
    np.testing.assert_allclose(built["measured"], np.asarray(expected, dtype=float))


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_name_is_told_before_anything_is_fitted_or_evaluated(labels, scores, no_fit, name):
    said, where = WRONG[name], f"acc > 0 and {name} <= 3"
    for what, call in {
        "target": lambda: labels.target(f"acc - {name}", ab.costs(labels.space)),
        "limit": lambda: scores.build(where=where),
        "limit ": lambda: scores.narrow(top=2, where=where),
        "target ": lambda: ab.verify(labels.archs[:2], unasked, labels, target=f"acc - {name}"),
        "target  ": lambda: next(iter(ab.rounds(labels, f"acc - {name}", unasked))),
    }.items():
        with pytest.raises(TargetError, match=f"{what.strip()} .*{said}"):
            call()
    if name != "macs":
        with pytest.raises(TargetError, match=f"filter .*(cost|name|column).* '{name}'"):
            labels.names().limits(f"acc > 0 and {name} <= 3", "filter")


@pytest.mark.parametrize("options", [{"target": "acc - {}"}, {"target": ["acc", "-{}"]}, {"where": "{} <= 3"}])
@pytest.mark.parametrize("name", ["macs", "cost.acc", "aac"])
def test_a_wrong_name_is_told_before_a_search_evaluates(labels, no_fit, options, name):
    """What the evaluator does not say may be measured; one that says what it gives is believed."""
    given = {key: [one.format(name) for one in text] if isinstance(text, list) else text.format(name)
             for key, text in options.items()}  # fmt: skip
    said = r"gives no 'aac', which the target needs|neither measured by the evaluator nor a cost: did you mean 'acc'"
    with pytest.raises(EvaluationError if name == "aac" else TargetError, match=said if name == "aac" else WRONG[name]):
        ab.search(labels.space, labels, prior=labels, n_trials=2, **given)


JOBS = [
    ("build", "where"), ("build", "target"), ("build", "build.pareto"), ("build", "filter"), ("fit", "target"),
    ("explain", "target"), ("search", "where"), ("search", "target"), ("verify", "target"), ("rounds", "target"),
]  # fmt: skip


@pytest.mark.parametrize(("job", "key"), JOBS)
@pytest.mark.parametrize("name", ["macs", "aac"])
def test_a_wrong_name_is_told_before_a_job_fits(tmp_path, monkeypatch, capsys, frame, no_fit, job, key, name):
    if (key, name) == ("filter", "macs"):
        pytest.skip("a filter is over labels alone")
    monkeypatch.chdir(tmp_path)
    frame.to_csv("labels.csv", index=False)
    text = {"where": f"{name} <= 3", "filter": f"{name} <= 3", "build.pareto": f"-{name}", "target": f"acc - {name}"}
    words = [job, f"space={SPACE}", "labels=labels.csv", f"{key}={text[key]}", "plots=false", "out=run"]
    words += {"verify": ["built=labels.csv", "evaluator=table"], "search": ["evaluator=table"]}.get(job, [])
    words += ["table=labels.csv", "n=30"] if job == "rounds" else []
    assert main(words) == 2
    said = capsys.readouterr().err
    assert ("did you mean 'acc'" if name == "aac" else "write label.macs or cost.macs") in said


@pytest.mark.parametrize("pareto", ["-max; acc", "-max; `top-1`; params", "[-max, -max]", "acc"])
def test_a_front_of_too_many_or_equal_targets_is_told_before_the_fit(
    tmp_path, monkeypatch, capsys, frame, no_fit, pareto
):
    monkeypatch.chdir(tmp_path)
    frame.to_csv("labels.csv", index=False)
    words = ["build", f"space={SPACE}", "labels=labels.csv", f"build.pareto={pareto}", "plots=false", "out=run"]
    assert main(words) == 2
    assert "one or two targets besides acc are accepted, each once" in capsys.readouterr().err


def test_limits_may_name_a_cost_and_the_column_that_repeats_it(labels, scores):
    bound = float(np.median(labels.frame["params"].dropna()))
    built = scores.build(top=2, where=f"params <= {bound:.12g} and label.params <= {2 * bound:.12g}")
    assert (built.frame["cost.params"] <= bound).all()
    assert "label.params" in built.frame


@pytest.mark.parametrize(
    ("measured", "name", "meant"),
    [
        (None, "fid", (LABEL, "fid")),
        (["fid"], "fid", (LABEL, "fid")),
        (["fid"], "label.fid", (LABEL, "fid")),
        (["params"], "params", (COST, "params")),  # nothing says that it is another number
        (["params"], "label.params", (LABEL, "params")),
        (["µs"], "μs", (LABEL, "µs")),
    ],
)
def test_what_only_the_evaluator_measures(measured, name, meant):
    names = Names(["acc"], ["params"], measured)
    assert names.find(name, name) == meant
    with pytest.raises(EvaluationError, match="'fidd' is neither measured by the evaluator nor a cost"):
        Names(["acc"], ["params"], ["fid"]).find("fidd", "fidd")
    with pytest.raises(TargetError, match="unknown cost"):
        names.find("cost.fid", "cost.fid")


def test_the_cost_is_asked_for_few_rows_where_they_tell(labels):
    asked = []

    def cost(archs):
        asked.append(len(archs))
        return np.zeros(len(archs))

    with pytest.raises(TargetError, match="values differ"):
        labels.target("acc + max", {"max": cost})
    assert asked == [32]


@pytest.mark.parametrize(
    ("text", "columns", "parts"),
    [
        ("acc; -ms", (), ["acc", "-ms"]),
        ("a;b", ["a;b"], ["a;b"]),
        ("a;b", (), ["a", "b"]),
        ("acc; a;b ;-ms;", ["a;b", "acc"], ["acc", "a;b", "-ms"]),
        ("`a;b` - 1; cost.c;d", ["a;b", "c;d"], ["`a;b` - 1", "cost.c;d"]),
        (["acc", "a;b"], (), ["acc", "a;b"]),
        ("; ", (), ["; "]),
        (3, (), []),
    ],
)
def test_several_targets_in_one_text(text, columns, parts):
    assert split_targets(text, columns) == parts


def test_a_semicolon_in_a_column_stays_in_it(tmp_path, monkeypatch, frame, labels):
    odd = frame.rename(columns={"max": "a;b"})
    known = ab.LabelledSet.from_frame(odd, labels.space)
    size = {"n_trials": 1, "model": None, "sampler": "random"}
    found = ab.search(labels.space, lambda arch: {"acc": 1.0, "a;b": 2.0}, target="acc; a;b", prior=known, **size)
    assert found.targets == ("acc", "`a;b`")
    monkeypatch.chdir(tmp_path)
    odd.to_csv("labels.csv", index=False)
    words = [f"space={SPACE}", "labels=labels.csv", "model=linear", "folds=2", "build.top=2", "plots=false"]
    for number, pareto in enumerate(("a;b", "`a;b`", '["a;b"]')):
        assert main(["build", *words, f"build.pareto={pareto}", f"out={number}"]) == 0
        assert list(pd.read_csv(f"{number}/pareto.csv").columns) == ["arch", "acc", "`a;b`"]


def test_limits_are_one_sense():
    low, high = parse_where("x > 2 and x <= 8")
    assert (low.sign, high.sign) == (-1, 1)
    assert (low.moved(0.5).text, high.moved(0.5).text) == ("x > 1.5", "x <= 8.5")
    assert low.shares_beyond([1, 3]) == pytest.approx([0.5, -0.5])
    assert high.shares_beyond([12, np.inf]) == pytest.approx([0.5, 1e9])
    assert (low.shares_beyond([2.0]) > 0).all()


def test_names_are_changed_and_functions_are_not():
    expression = renamed(
        TargetExpression.parse("max(max, log)*`a b` - label.log"), {"max": "cost.max", "a b": "cost.a b"}
    )
    assert expression.text == "max(cost.max, log) * cost.`a b` - label.log"
    assert expression.names == ("cost.max", "log", "cost.a b", "label.log")
    assert TargetExpression.parse(expression.text).names == expression.names


def test_target_errors_are_errors_of_options():
    with pytest.raises(AutobuildError, match="names no metric"):
        Names(["acc"]).target("3")
