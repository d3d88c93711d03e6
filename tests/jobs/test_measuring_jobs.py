"""Label, verify and the demo with real trainings of a shortened recipe; export of real networks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import autobuild as ab
from autobuild.cli import main
from autobuild.evaluate import evaluator as evaluators
from autobuild.evaluate.digits import DigitTask
from autobuild.evaluate.training import TrainingEvaluator
from autobuild.jobs import _measuring as measuring

SMALL = "e2k3s0|e1k3s1|e1k1s0-e2k3s1"


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder; the evaluator trains on 96 pictures, once over; labels.csv has 30 rows."""
    task = DigitTask(n_train=96, n_test=100)
    monkeypatch.setitem(evaluators.EVALUATORS, "tiny_mbconv", lambda: TrainingEvaluator(task=task, epochs=1))
    monkeypatch.chdir(tmp_path)
    space = ab.space("tiny_mbconv")
    archs = ab.sample_design(space, 30, "depth", 0)
    acc = [60 + 3 * sum(layer["expand"] for stage in space.layers(arch) for layer in stage) for arch in archs]
    pd.DataFrame({"arch": [str(arch) for arch in archs], "acc": acc}).to_csv(tmp_path / "labels.csv", index=False)
    return tmp_path


def metrics(folder: str) -> dict:
    return json.loads(Path(folder, "metrics.json").read_text())


def test_label_writes_what_labels_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["label", "n=2", "seeds=[0,3]", "n_jobs=1", "out=l"]) == 0
    labels, trained = pd.read_csv("l/labels.csv"), pd.read_csv("l/trained.csv")
    assert len(labels) == 2
    assert set(trained["seed"]) == {0, 3}
    for arch, group in trained.groupby("arch"):
        assert labels.set_index("arch").loc[arch, "acc"] == pytest.approx(group["acc"].mean())
    assert (labels["latency_ms"] > 0).all()
    read = ab.LabelledSet.read("l/labels.csv", ab.space("tiny_mbconv"))
    assert {"acc", "latency_ms", "params", "macs"} <= set(read.metrics)
    pd.DataFrame({"arch": [labels["arch"][1]]}).to_csv("one.csv", index=False)
    assert main(["label", "archs=one.csv", "seeds=[3]", "latency=false", "n_jobs=1", "out=again"]) == 0
    again = pd.read_csv("again/labels.csv")
    assert list(again["arch"]) == [labels["arch"][1]]
    same = trained[(trained["arch"] == again["arch"][0]) & (trained["seed"] == 3)]
    assert again["acc"][0] == same["acc"].iloc[0]  # the same seed trains the same network


def test_verify_compares_with_fresh_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    labels = pd.read_csv("labels.csv")
    pd.DataFrame({"rank": [1, 2, 3], "arch": [SMALL, *labels["arch"][:2]], "predicted": [1.0, 2.0, 3.0]}).to_csv(
        "built.csv", index=False
    )
    words = ["verify", "built=built.csv", "labels=labels.csv", "top=2", "seeds=2", "plots=false", "out=v"]
    assert main(words) == 0
    frame, trained = pd.read_csv("v/verified.csv"), pd.read_csv("v/trained.csv")
    assert list(frame["set"]) == ["built", "built", "labelled"]
    assert list(frame["predicted"][:2]) == [1.0, 2.0]
    assert frame["label"][1] == labels["acc"][0]
    assert np.isnan(frame["label"][0])
    assert frame["arch"][2] == labels["arch"][labels["acc"].idxmax()]
    assert trained["seed"].min() >= 10_000
    assert len(trained) == 6
    for _, row in frame.iterrows():
        own = trained.loc[trained["arch"] == row["arch"], "acc"]
        assert row["measured"] == pytest.approx(own.mean())
        assert row["measured_sd"] == pytest.approx(own.std())
    told = metrics("v")
    assert told["labelled_best"] == labels["acc"].max()
    assert told["labelled_mean"] == pytest.approx(labels["acc"].mean())
    assert told["built_mean"] == pytest.approx(frame["measured"][:2].mean())
    before = Path("v/trained.csv").read_bytes()
    assert main(words) == 0
    assert "finished already" in capsys.readouterr().out
    assert Path("v/trained.csv").read_bytes() == before


def test_trainings_finished_before_ctrl_c_are_not_repeated(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pd.DataFrame({"arch": [SMALL]}).to_csv("built.csv", index=False)
    words = ["verify", "built=built.csv", "labels=labels.csv", "seeds=2", "n_jobs=1", "plots=false"]
    show = measuring.Phases.show

    def interrupt_after_the_first(self: measuring.Phases, phase: str, done: int, total: int, note: str = "") -> None:
        show(self, phase, done, total, note)
        if done == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(measuring.Phases, "show", interrupt_after_the_first)
        assert main(words) == 130
    (folder,) = Path("runs/verify").iterdir()
    assert str(folder) in capsys.readouterr().err
    first = pd.read_csv(folder / "trained.csv")
    assert len(first) == 1
    assert main(words) == 0
    assert "resuming" in capsys.readouterr().out
    trained = pd.read_csv(folder / "trained.csv")
    assert len(trained) == 4
    pd.testing.assert_frame_equal(trained.head(1), first)  # its train_seconds too: it was not done again
    assert len(list(Path("runs/verify").iterdir())) == 1


def test_a_space_without_evaluator_and_a_target_that_is_not_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["label", "space=ofa_mbv3", "n=2"]) == 2
    assert "tiny_mbconv" in capsys.readouterr().err
    labels = pd.read_csv("labels.csv").assign(fid=range(30))
    labels.to_csv("fid.csv", index=False)
    labels.head(1).to_csv("built.csv", index=False)
    assert main(["verify", "built=built.csv", "labels=fid.csv", "target=-fid", "seeds=1", "out=v"]) == 2
    assert "'fid' is neither measured by the evaluator nor a cost" in capsys.readouterr().err


@pytest.mark.parametrize("built", ["nowhere", "nowhere.csv", "labels.csv/x"])
def test_built_that_does_not_exist_is_told(capsys: pytest.CaptureFixture[str], built: str) -> None:
    assert main(["verify", f"built={built}", "labels=labels.csv"]) == 2
    assert built in capsys.readouterr().err


def test_the_demo_walks_to_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["demo", "labels=labels.csv", "build.top=2", "seeds=1", "fit.epochs=20", "out=d"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    for part in ("cross-validated on all", "Main effects", "Built networks", "Measured: ",
                 "best labelled, trained again", "labelled, mean"):  # fmt: skip
        assert part in shown
    assert shown.rstrip().endswith("Results in d")
    names = {path.name for path in Path("d").iterdir()}
    assert {"built.csv", "verified.csv", "trained.csv", "candidates.csv", "features.csv", "metrics.json"} <= names
    pictures = {"predicted.png", "features.png", "candidates.png", "best.png", "built.png"}
    assert pictures <= names
    assert all(Path("d", name).read_bytes().startswith(b"\x89PNG") for name in pictures)
    told = metrics("d")
    for key in ("test_srcc", "picked", "fit_seconds", "explain_seconds", "build_seconds", "built_first"):
        assert told[key] is not None
    verified = pd.read_csv("d/verified.csv")
    assert list(verified["arch"][:2]) == list(pd.read_csv("d/built.csv")["arch"])


def test_exported_weights_come_back(tmp_path: Path) -> None:
    import torch

    assert main(["export", f"archs={SMALL}", "format=pt", "seed=3", "out=p"]) == 0
    stored = torch.load("p/network.pt", weights_only=True)
    assert stored["arch"] == SMALL
    network = ab.space(stored["space"]).realise(SMALL)
    network.load_state_dict(stored["state_dict"])
    assert main(["export", f"archs={SMALL}", "format=pt", "seed=3", "out=same"]) == 0
    assert main(["export", f"archs={SMALL}", "format=pt", "seed=4", "out=other"]) == 0
    weights = [next(iter(torch.load(f"{out}/network.pt", weights_only=True)["state_dict"].values()))
               for out in ("p", "same", "other")]  # fmt: skip
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_first_rows_of_a_file_are_exported() -> None:
    archs = [str(arch) for arch in ab.space("tiny_mbconv").sample(3, seed=0)]
    pd.DataFrame({"rank": [1, 2, 3], "arch": archs}).to_csv("built.csv", index=False)
    assert main(["export", "archs=built.csv", "n=2", "out=e"]) == 0
    assert json.loads(Path("e/architecture2.json").read_text())["arch"] == archs[1]
    assert pd.read_csv("e/exported.csv").to_dict("list") == {
        "file": ["architecture1.json", "architecture2.json"], "arch": archs[:2],
    }  # fmt: skip
    assert not Path("e/architecture3.json").exists()


def test_the_onnx_file_computes_what_the_network_does() -> None:
    import torch

    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    assert main(["export", f"archs={SMALL}", "format=onnx", "seed=5", "out=o"]) == 0
    torch.manual_seed(5)
    network = ab.space("tiny_mbconv").realise(SMALL).eval()
    session = runtime.InferenceSession("o/network.onnx", providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        images = torch.randn(batch, 1, 20, 20)
        (logits,) = session.run(None, {"images": images.numpy()})
        np.testing.assert_allclose(logits, network(images).detach().numpy(), rtol=1e-3, atol=1e-5)


def test_onnx_without_its_packages_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["export", f"archs={SMALL}", "format=onnx", "out=o"]) == 2
    assert "pip install 'autobuild-nas[onnx]'" in capsys.readouterr().err
    assert not Path("o/network.onnx").exists()


def test_the_demo_with_a_saved_model_verifies_the_models_own_target() -> None:
    assert main(["fit", "labels=labels.csv", "target=-acc", "fit.epochs=2", "plots=false", "curve=false", "out=f"]) == 0
    words = ["demo", "labels=labels.csv", "model=f", "build.top=1", "seeds=1", "plots=false", "out=d"]
    assert main(words) == 0
    told = metrics("d")
    assert told["target"] == "-acc"
    assert told["built_first"] < 0  # minus an accuracy
    assert told["labelled_best"] == -pd.read_csv("labels.csv")["acc"].min()


MINE = """
def evaluate(arch, seed):
    return {"acc": 10.0 * str(arch).count("k3") + seed % 10, "note": "fine"}
"""


def test_verify_takes_ones_own_evaluator_where_networks_cannot_be_trained(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(".")
    Path("ones_own.py").write_text(MINE)
    space = ab.space("ofa_mbv3")
    archs = [arch.text for arch in space.sample(24, 0)]
    pd.DataFrame({"arch": archs, "acc": [float(text.count("k3")) for text in archs]}).to_csv("ofa.csv", index=False)
    pd.DataFrame({"arch": archs[:2], "predicted": [1.0, 2.0]}).to_csv("built.csv", index=False)
    words = ["verify", "space=ofa_mbv3", "labels=ofa.csv", "built=built.csv", "plots=false"]
    assert main([*words, "out=refused"]) == 2
    assert "has no evaluator of its own" in capsys.readouterr().err
    own = [*words, "evaluator=python:ones_own.evaluate", "executor=inline", "seeds=3", "out=v"]
    assert main(own) == 0
    assert "no number and is not kept: 'note'" in capsys.readouterr().out
    found = pd.read_csv("v/verified.csv")
    assert list(found["set"]) == ["built", "built", "labelled"]
    assert list(found["measured"]) == [10.0 * arch.count("k3") + 1 for arch in found["arch"]]
    assert (found["measured_sd"] == 1).all()
    assert sorted(pd.read_csv("v/trained.csv")["seed"].unique()) == [10_000, 10_001, 10_002]
    assert main([*words, "evaluator=table:ofa.csv", "executor=inline", "workers=1", "out=looked"]) == 0
    assert "note: workers= is now called n_jobs=" in capsys.readouterr().out
    looked = pd.read_csv("looked/verified.csv")
    assert list(looked["measured"]) == list(looked["label"])


@pytest.mark.parametrize("seeds", ["0", "two", "[]", "[-1]", "1.5"])
def test_seeds_that_are_neither_a_number_nor_a_list_are_refused(seeds: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["label", "n=2", f"seeds={seeds}", "executor=inline"]) == 2
    assert f"seeds={seeds}: accepted: how many, such as 2, or a list of them" in capsys.readouterr().err


def test_a_search_in_which_all_evaluations_fail_says_why_and_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(".")
    Path("no_device.py").write_text("def evaluate(arch):\n    raise RuntimeError('no device')\n")
    words = ["evaluator=python:no_device:evaluate", "executor=inline", "model=none", "sampler=random", "plots=false"]
    assert main(["search", *words, "n_trials=3", "out=s"]) == 2
    assert "all 3 evaluations failed; the first, of " in capsys.readouterr().err
    assert list(pd.read_csv("s/trials.csv")["state"]) == ["FAIL"] * 3


def test_a_limit_has_one_name_in_all_jobs(capsys: pytest.CaptureFixture[str]) -> None:
    for key in ("where", "build.where"):
        assert main(["build", "model=gp", "labels=labels.csv", f"{key}=latency_mx <= 3", f"out={key}"]) == 2
        told = capsys.readouterr()
        assert "latency_mx" in told.err
        assert ("build.where= is now called where=" in told.out) == (key == "build.where")
