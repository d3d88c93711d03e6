"""Fit, explain, build and predict, run as a user runs them, on a toy space whose accuracy is a known formula."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

import autobuild as ab
from autobuild.cli import main

COMMON = ["space=toy.yaml", "labels=labels.csv", "fit.epochs=25", "plots=false"]
FIT = [*COMMON, "curve=false"]


def metrics(folder: str) -> dict:
    return json.loads(Path(folder, "metrics.json").read_text())


def test_build_writes_its_tables_and_finds_the_best(
    toy: Path, accuracy: Callable[..., float], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["build", *COMMON, "build.top=5", "build.narrow=2", "out=b"]) == 0
    told = metrics("b")
    for key in ("test_srcc", "picked", "fit_seconds", "explain_seconds", "build_seconds", "n_train", "n_candidates"):
        assert told[key] is not None, key
    assert told["n_train"] == told["n_test"] == 90
    assert set(pd.read_csv("b/members.csv")["member"]) == {"gp", "linear", "trees", "graph"}
    built = pd.read_csv("b/built.csv")
    assert list(built.columns) == ["rank", "arch", "score", "predicted", "lower", "upper"]
    assert list(built["rank"]) == [1, 2, 3, 4, 5]
    space = ab.space("toy.yaml")
    candidates = pd.read_csv("b/candidates.csv")
    assert list(candidates.columns[:4]) == ["unit", "candidate", "hops", "score"]
    assert len(candidates) == told["n_candidates"] == sum(unit.size for unit in space.units)
    # the formula's own order: what was built is far above the labels' best tenth
    labels = pd.read_csv("labels.csv")
    reached = [accuracy(space, space.parse(text)) for text in built["arch"]]
    assert min(reached) > labels["acc"].quantile(0.9)
    narrowed = ab.space("b/narrowed.json")
    assert narrowed.size == 2**3 == int(told["narrowed_size"])
    assert built["arch"][0] in narrowed
    shown = capsys.readouterr().out
    assert "Spearman" in shown
    assert built["arch"][0] in shown
    assert shown.rstrip().endswith("Results in b")


def test_held_out_numbers_are_those_of_the_held_out_table(toy: Path) -> None:
    assert main(["fit", *FIT, "model=graph", "fit.holdout=0.3", "out=f"]) == 0
    held = pd.read_csv("f/heldout.csv")
    told = metrics("f")
    assert told["n_test"] == len(held) == 27
    assert told["test_srcc"] == pytest.approx(spearmanr(held["measured"], held["predicted"]).statistic)
    for hop, value in enumerate(told["hop_srcc"]):
        assert value == pytest.approx(spearmanr(held["measured"], held[f"hop{hop}"]).statistic)


def test_rows_after_the_first_n_influence_nothing_but_the_rest(toy: Path) -> None:
    """Labels and even the architectures after row n are replaced: every table stays the same to the byte."""
    assert main(["build", *COMMON, "n=60", "test=rest", "out=one"]) == 0
    before = pd.read_csv("labels.csv")
    seen, space = set(before["arch"][:60]), ab.space("toy.yaml")
    others = [str(arch) for arch in ab.sample_design(space, 110, "uniform", 9) if str(arch) not in seen][:40]
    rng = np.random.default_rng(0)
    after = pd.DataFrame({"arch": [*others, *before["arch"][:10]], "acc": rng.normal(1e3, 1e3, len(others) + 10)})
    pd.concat([before[:60], after]).to_csv("labels.csv", index=False)  # with twins of rows that may be seen
    assert main(["build", *COMMON, "n=60", "test=rest", "out=two"]) == 0
    for name in (
        "built.csv",
        "candidates.csv",
        "features.csv",
        "operations.csv",
        "layers.csv",
        "heldout.csv",
        "places.csv",
        "choices.csv",
    ):
        assert Path("one", name).read_bytes() == Path("two", name).read_bytes(), name
    one, two = metrics("one"), metrics("two")
    assert one["n_train"] == 60
    assert one["n_rest"] == 30
    assert one["test_srcc"] == two["test_srcc"]
    assert two["n_rest"] == len(others)
    assert one["rest_srcc"] != two["rest_srcc"]
    for name in ("model/weights.safetensors", "model/training.csv"):
        assert Path("one", name).read_bytes() == Path("two", name).read_bytes(), name
    rest = pd.read_csv("one/test.csv")
    assert one["rest_srcc"] == pytest.approx(spearmanr(rest["measured"], rest["predicted"]).statistic)
    assert list(rest["arch"]) == list(before["arch"][60:])


def test_a_test_file_is_scored_without_the_rows_seen_in_training(toy: Path) -> None:
    frame = pd.read_csv("labels.csv")
    frame.iloc[:60].to_csv("train.csv", index=False)
    frame.iloc[50:].to_csv("test.csv", index=False)
    assert (
        main(
            [
                "fit",
                "space=toy.yaml",
                "labels=train.csv",
                "test=test.csv",
                "fit.epochs=5",
                "plots=false",
                "curve=false",
                "out=f",
            ]
        )
        == 0
    )
    assert metrics("f")["n_rest"] == 30
    assert metrics("f")["n_rest_seen_in_training"] == 10


def test_the_same_seed_builds_the_same_and_another_does_not(toy: Path) -> None:
    for out, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert main(["build", *COMMON, f"seed={seed}", f"out={out}"]) == 0
    tables = [Path(out, "candidates.csv").read_bytes() for out in "abc"]
    assert tables[0] == tables[1] != tables[2]


def test_a_saved_model_is_reused(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", *FIT, "out=f"]) == 0
    assert main(["build", "model=f/model", "plots=false", "out=b"]) == 0
    assert main(["build", *COMMON, "out=direct"]) == 0
    assert Path("b/built.csv").read_bytes() == Path("direct/built.csv").read_bytes()
    assert not Path("b/model").exists()
    assert main(["predict", "model=f", "archs=b/built.csv", "out=p"]) == 0
    predicted, built = pd.read_csv("p/predictions.csv"), pd.read_csv("b/built.csv")
    assert list(predicted["arch"]) == list(built["arch"])
    np.testing.assert_allclose(predicted["predicted"], built["predicted"], rtol=1e-6)
    assert (predicted["lower"] <= predicted["predicted"]).all()
    assert (predicted["score"] == built["score"]).all()
    assert main(["predict", "model=f", f"archs={built['arch'][0]}", "out=q"]) == 0
    assert len(pd.read_csv("q/predictions.csv")) == 1
    capsys.readouterr()
    assert main(["build", "model=f/model", "target=-acc", "out=other"]) == 2
    assert "f/model predicts acc" in capsys.readouterr().err
    for unread in ("fit.epochs=3", "folds=3"):
        assert main(["build", "model=f/model", unread, "out=other"]) == 2
        assert f"{unread}: the saved model f/model is not fitted again" in capsys.readouterr().err
    assert main(["build", "model=f/model", "where=acc >= 3", "out=other"]) == 2
    assert "needs labels= beside a saved model" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "told"), [
    (["fit", "space=toy.yaml", "labels=labels.csv", "target=acy"], "did you mean 'acc'"),
    (["fit", "space=toy.yaml", "labels=labels.csv", "target=acc.real"], "acc.real"),
    (["fit", "space=toy.yaml", "labels=labels.csv", "target=__import__('os')"], "__import__"),
    (["fit", "space=toy.yaml", "labels=labels.csv", "target=acc - acc"], "the same for all"),
    (["fit", "space=toy.yaml", "labels=labels.csv", "n=4"], "4 usable rows"),
    (["fit", "space=toy.yaml", "labels=labels.csv", "sources=other.csv"], "there is no file other.csv"),
    (["fit", "space=toy.yaml", "labels=lables.csv"], "did you mean 'labels.csv'"),
    (["fit", "space=toy.yaml", "labels=labels.csv", "n=91"], "91"),
    (["fit", "space=toy.yaml", "labels=labels.csv", "test=rest"], "give n="),
    (["fit", "space=toy.yaml", "labels=null"], "no embedded labels"),
    (["fit", "space=toy.yaml", "labels=labels.csv", "encoder.heads=5"], "encoder.heads=5"),
    (["fit", "space=toy.yaml", "labels=labels.csv", "ranking.k=3"], "ranking=lambdarank"),
    (["explain", "space=toy.yaml", "labels=labels.csv", "scorer=hopnrom", "fit.epochs=1"], "did you mean 'hopnorm'"),
    (["build", "model=nowhere"], "model=nowhere: neither a family of models nor the folder of a fitted one: accepted"),
    (["predict", "archs=x"], "model="),
    (["predict", "model=toy.yaml"], "archs="),
    (["verify"], "built="),
    (["export", "space=toy.yaml"], "archs="),
])  # fmt: skip
def test_mistakes_are_told_in_a_line(
    toy: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert told in error


def test_an_empty_or_truncated_model_is_refused(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", *FIT, "out=f"]) == 0
    for name in ("weights.safetensors", "model.json"):
        data = Path("f/model", name).read_bytes()
        for size in (0, len(data) // 2):
            Path("f/model", name).write_bytes(data[:size])
            assert main(["predict", "model=f/model", "archs=labels.csv"]) == 2
            assert name in capsys.readouterr().err
        Path("f/model", name).write_bytes(data)


def test_settings_in_conf_are_the_defaults_of_the_library() -> None:
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from autobuild.jobs._pipeline import fit_config
    from autobuild.rank.softrank import EPS
    from autobuild.resources import resource_dir

    with initialize_config_dir(config_dir=str(resource_dir("conf")), version_base="1.3"):
        for encoder in ("gatv2", "gat", "gcn", "sage", "gin"):
            config = OmegaConf.to_container(compose("autobuild", ["job=build", f"encoder={encoder}"]))
            assert ab.EncoderConfig(**config["encoder"]) == ab.EncoderConfig(layer=encoder)
        for ranking in ("srcc", "lambdarank", "pairwise", "hybrid", "none"):
            config = OmegaConf.to_container(compose("autobuild", ["job=build", f"ranking={ranking}"]))
            made, default = fit_config(config), ab.FitConfig()
            assert made.ranking == ranking  # and its options are accepted, or FitConfig had refused them
            assert made.ranking_options.get("eps", EPS) == EPS
            for name in ("epochs", "batch_size", "lr", "weight_decay", "regression"):
                assert getattr(made, name) == getattr(default, name)


_HASTY = """
import sys
import autobuild.models
from autobuild.cli import main
sys.modules["autobuild.models.training"].CHECKPOINT_SECONDS = 0.1
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_fit_that_was_killed_ends_as_if_it_had_not_been(toy: Path, number: signal.Signals) -> None:
    words = ["build", "space=toy.yaml", "labels=labels.csv", "fit.epochs=120", "fit.batch_size=90", "plots=false"]
    words += ["model=graph", "scorer=hopnorm"]
    command = [sys.executable, "-c", _HASTY, *words]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell that starts the tests in the background has SIGINT ignored, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list(toy.glob("runs/build/*/checkpoint/*")):
        time.sleep(0.01)
    process.send_signal(number)
    _, error = process.communicate()
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    if number == signal.SIGINT:
        assert "interrupted" in error
        assert "the same command continues it" in error
        assert "Traceback" not in error
    (folder,) = (toy / "runs" / "build").iterdir()
    assert not (folder / "built.csv").exists()
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"resuming the unfinished run in runs/build/{folder.name}" in again.stdout
    subprocess.run([*command, "out=undisturbed"], capture_output=True, check=True)
    for name in ("built.csv", "candidates.csv", "history.csv", "heldout.csv"):
        assert (folder / name).read_bytes() == (toy / "undisturbed" / name).read_bytes(), name
    assert os.listdir(toy / "runs" / "build") == [folder.name]


def test_an_unusable_test_is_refused_before_the_fit(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in ((["n=89", "test=rest"], "1 usable rows"), (["test=labels.csv"], "90 of its 90 networks are")):
        assert main(["fit", *FIT, *words, "out=f"]) == 2
        shown = capsys.readouterr()
        assert said in shown.err
        assert "refit" not in shown.out
        assert not Path("f").exists()


def test_a_table_of_architectures_with_torn_rows_is_refused(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", *FIT, "fit.epochs=1", "out=f"]) == 0
    Path("torn.csv").write_text("arch,note\nw1k3|w1k3|w1k3,x\nw1k3|w1k3|w1k3\n")
    assert main(["predict", "model=f", "archs=torn.csv"]) == 2
    assert "row 3: 1 fields, the header has 2" in capsys.readouterr().err
    Path("bom.txt").write_text("\ufeffw1k3|w1k3|w1k3\n", encoding="utf-8")
    assert main(["predict", "model=f", "archs=bom.txt", "out=p"]) == 0
    assert main(["predict", "model=f", "archs=~nobody/x.csv"]) == 2
    assert "file not found" in capsys.readouterr().err


def test_seeds_and_threads_beyond_what_torch_takes_are_refused(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", *FIT, "seed=99999999999999999999"]) == 2
    assert main(["fit", *FIT, "threads=100000"]) == 2
    told = capsys.readouterr().err
    assert "int >=0 <=4294967295" in told
    assert "int >=1 <=1024 or null" in told


def test_spaces_writes_its_tables_and_its_picture(toy: Path) -> None:
    assert main(["spaces", "space=toy.yaml", "out=described"]) == 0
    assert (toy / "described" / "space.png").read_bytes().startswith(b"\x89PNG")
    assert pd.read_csv(toy / "described" / "units.csv")["candidates"].tolist() == [258, 42, 42]
    assert main(["spaces", "out=all"]) == 0
    assert (toy / "all" / "spaces.csv").is_file()
    assert not (toy / "all" / "space.png").exists()


def test_a_saved_model_with_labels_builds_a_front_and_draws_no_curve_of_others(toy: Path) -> None:
    assert main(["fit", *FIT, "model=gp", "folds=2", "out=f"]) == 0
    saved = ["model=f", "plots=false"]
    assert main(["build", *saved, "labels=labels.csv", "build.pareto=-ms", "out=b"]) == 0
    front = pd.read_csv("b/pareto.csv")
    assert list(front.columns) == ["arch", "acc", "-ms"]
    assert front["acc"].is_monotonic_decreasing
    assert front["-ms"].is_monotonic_increasing
    assert main(["build", *saved, "build.pareto=-ms", "out=c"]) == 2
    assert main(["fit", *saved, "test=labels.csv", "out=g"]) == 2  # all of its networks were fitted
    assert main(["fit", *saved, "out=h"]) == 0
    assert not Path("h", "curve.csv").exists()
    assert metrics("h")["space"] == "toy"


def test_a_limit_that_names_nothing_is_refused_before_the_fit(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "model=gp", "n=60", "where=latency_mx <= 3", "out=refused"]) == 2
    assert "did you mean 'latency_ms'" in capsys.readouterr().err
    assert not Path("refused/heldout.csv").exists()


def test_an_unknown_scorer_is_refused_before_anything_is_fitted(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(ab, "fit", lambda *args, **options: pytest.fail("a model was fitted"))
    assert main(["explain", "scorer=hopnrm", f"out={tmp_path / 'run'}"]) != 0
    assert "did you mean 'hopnorm'" in capsys.readouterr().err


@pytest.mark.parametrize("target", ["cifar10-test", "`cifar10-test` - 0*`5th`"])
def test_any_column_name_and_slips_in_the_labels(
    toy: Path, target: str, capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    frame = pd.read_csv("labels.csv").rename(columns={"acc": "cifar10-test", "ms": "5th"}).assign(run="r1")
    frame.loc[[2, 7], "cifar10-test"] = -1
    frame.to_csv("odd.csv.gz")
    line = [
        "build",
        "space=toy.yaml",
        "labels=odd.csv.gz",
        f"target={target}",
        "model=gp",
        "plots=false",
        "build.top=1",
    ]
    limits = ["build.where=`cifar10-test` >= 0.6 and `5th` <= 6", "filter=`cifar10-test` >= 0"]
    assert main([*line, *limits, "out=b"]) == 0
    shown = capsys.readouterr().out
    assert "note: column 1 has no name and is left out" in shown
    assert "note: no metric, left out: run (text)" in shown
    assert "note: rows that break filter='`cifar10-test` >= 0' are left out" in shown
    assert "warning: cifar10-test" not in shown
    told = metrics("b")
    assert (told["n_train"], told["label_warnings"]) == (88, [])
    assert pd.read_csv("b/built.csv")["5th"][0] <= 6
    assert main([*line, "out=c"]) == 0
    assert "warning: cifar10-test: -1 (2 times) in lines 4, 9: a usual mark of a failure" in capsys.readouterr().out
    assert metrics("c")["n_train"] == 90
    assert metrics("c")["label_warnings"][0].startswith("cifar10-test: -1")
    assert not [warning for warning in recwarn if "look wrong" in str(warning.message)]  # said once
    assert main([*line, "filter=acc > 0", "out=d"]) == 2
    assert "filter 'acc > 0': unknown" in capsys.readouterr().err


def test_mistakes_in_a_target_are_told_before_anything_is_fitted(
    toy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pd.read_csv("labels.csv").rename(columns={"acc": "top-1"}).assign(run="r1").to_csv("odd.csv", index=False)
    monkeypatch.setattr("autobuild.models.fitting._fit_learned", lambda *_, **__: pytest.fail("fitted"))
    for number, (text, said) in enumerate(
        {
            "100*top-1": "write `top-1`",
            "top_1": "did you mean `top-1`",
            "run": "the column 'run' is not a metric: text",
            "`top-1": "position 1: a name in backticks",
            "`top-1` +": "not an expression",
        }.items()
    ):
        assert main(["build", "space=toy.yaml", "labels=odd.csv", f"target={text}", "model=gp", f"out=x{number}"]) == 2
        assert said in capsys.readouterr().err
