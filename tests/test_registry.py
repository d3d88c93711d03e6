"""Plug-ins by name: shipped, registered, and of an installed package; mistakes are told by name."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import autobuild as ab
from autobuild import registry
from autobuild.cli import main
from autobuild.construct.rounds import Rounds
from autobuild.errors import ConfigError, SpaceError
from autobuild.registry import EXECUTORS, LOSSES, SAMPLERS, Registry
from autobuild.spaces.registry import SPACES

PLUGINS = Path(__file__).with_name("plugins")
KINDS = {name: own for name, own in vars(registry).items() if isinstance(own, Registry)}
pytestmark = pytest.mark.usefixtures("own_plugins")


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A folder on the path that holds an installed package: its module, and a dist-info with its entry points."""
    info = tmp_path / "example_plugins-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: example-plugins\nVersion: 1.0\n")
    shutil.copy(PLUGINS / "entry_points.txt", info)
    shutil.copy(PLUGINS / "example_plugins.py", tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(LOSSES, "_left_out", set())
    yield tmp_path
    sys.modules.pop("example_plugins", None)


@pytest.mark.parametrize("kind", KINDS)
def test_every_shipped_file_registers_its_name(kind):
    own = KINDS[kind]
    assert list(own) == sorted(own.shipped())
    assert list(own)
    for name in own:
        assert own[name].__module__.endswith(f".{name}_{own.kind}")


def test_names_are_listed_without_an_import():
    code = "import sys; from autobuild import registry as r; print([list(o) for o in vars(r).values() if "
    code += "isinstance(o, r.Registry)]); assert 'torch' not in sys.modules, 'torch'"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "'evolution', 'gp', 'guided'" in done.stdout


def test_a_package_is_found_and_imported_when_it_is_asked_for(package):
    assert "elitist" in SAMPLERS
    assert {"elitist", "lost", "random"} <= set(SAMPLERS)
    assert "example_plugins" not in sys.modules
    assert SAMPLERS["elitist"].__name__ == "ElitistSampler"
    assert "example_plugins" in sys.modules
    assert "elitist" in SAMPLERS.choices
    assert "two_stages" in ab.space_names()
    assert ab.space("two_stages").size == 2 * (2 + 4)


def test_without_the_package_its_names_are_unknown():
    with pytest.raises(ConfigError, match=r"sampler='evolutoin': unknown sampler: did you mean 'evolution'.*auto, "):
        SAMPLERS["evolutoin"]
    with pytest.raises(ConfigError, match="unknown sampler"):
        SAMPLERS.check(["tpe"])
    with pytest.raises(ConfigError, match="sampler='auto' is no sampler"):
        SAMPLERS["auto"]
    SAMPLERS.check("auto")
    assert "elitist" not in SAMPLERS
    with pytest.raises(SpaceError, match="two_stages"):
        ab.space("two_stages")


def test_what_is_wrong_with_a_package_is_told_by_its_name(package, caplog):
    with pytest.raises(ConfigError, match=r"sampler=lost of the package example-plugins \(.*ModuleNotFoundError"):
        SAMPLERS["lost"]
    with pytest.raises(ConfigError, match=r"sampler=number of the package example-plugins .* it is 3; accepted: a cl"):
        SAMPLERS["number"]
    with pytest.raises(ConfigError, match=r"sampler=elitist has no option 'restrat': did you mean 'restart'"):
        SAMPLERS.make("elitist", {"space": None, "grain": "layer", "seed": 0}, {"restrat": 2})
    assert "margin" in list(LOSSES)
    assert LOSSES["srcc"].__module__.startswith("autobuild.")
    assert "the loss 'srcc' of the package example-plugins is left out, the name is taken" in caplog.text


def test_names_are_taken_once(package):
    def first(space, evaluator):
        return None

    def second(space, evaluator):
        return None

    assert ab.register_executor("mine")(first) is first
    assert EXECUTORS["mine"] is first
    ab.register_executor("mine")(first)  # the cell of a notebook, run again
    for name, said in (
        ("mine", r"is registered already, as test_registry.*first"),
        ("local", "is built in"),
        ("logged", "is that of the package example-plugins"),
        ("my executor", "letters, digits and _"),
    ):
        with pytest.raises(ConfigError, match=said):
            ab.register_executor(name)(second)
    with pytest.raises(ConfigError, match="letters"):
        ab.register_sampler("auto")(second)


# --- of the package, from Python ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def labels():
    return ab.LabelledSet.read("tiny_mbconv", ab.space("tiny_mbconv"), n=60)


def test_a_loss_and_a_layer_fit_a_graph_encoder(package, labels, tmp_path):
    config = ab.FitConfig(epochs=30, ranking="margin", ranking_options={"margin": 0.5})
    model = ab.fit(labels, "acc", model="graph", config=config, encoder=ab.EncoderConfig(layer="mean", width=16))
    assert type(model.network.encoder.layers[0]).__name__ == "MeanLayer"
    assert model.history["ranking"].iloc[-1] < 0.9 * model.history["ranking"].iloc[0]
    loaded = ab.load_model(model.save(tmp_path / "model"))
    np.testing.assert_allclose(loaded.predict_mean(labels.archs), model.predict_mean(labels.archs), rtol=1e-6)
    with pytest.raises(ConfigError, match="ranking=margin has no option 'margn': did you mean 'margin'"):
        ab.FitConfig(ranking="margin", ranking_options={"margn": 1})


def evaluate(arch):
    return {"acc": float(arch.text.count("k5"))}


def test_a_sampler_and_an_executor_search(package, labels):
    study = ab.search(
        labels.space, evaluate, n_trials=12, sampler="elitist", sampler_options={"restart": 3}, executor="logged"
    )
    assert len(study.trials) == 12
    assert EXECUTORS["logged"].submitted == study.trials["arch"].tolist()
    assert type(study.study.sampler).__name__ == "ElitistSampler"


def test_a_family_and_an_acquisition_ask_for_labels(package, labels):
    rounds = Rounds(labels, "acc", model="ridge", acquisition="alternate")
    asked = rounds.ask(4)
    assert asked["arch"].nunique() == 4
    assert rounds.model.family == "ridge"
    assert list(rounds.model.weights) == ["ridge"]


def test_a_registered_cost_and_space_are_known_everywhere(package):
    @ab.register_cost("nodes")
    class Nodes:
        name, unit = "nodes", "1"

        def __call__(self, graph):
            return {"nodes": len(graph)}

    space = ab.space("tiny_mbconv")
    assert ab.costs(space)["nodes"](space.sample(2)).min() > 3
    assert SPACES["two_stages"].SPACE is ab.space("two_stages")


# --- of the package, from the command line ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("job", "said"),
    [("search", "elitist"), ("search", "logged"), ("fit", "margin"), ("fit", "mean"), ("rounds", "ridge"),
     ("rounds", "alternate")],
)  # fmt: skip
def test_help_lists_plug_ins(package, capsys, job, said):
    assert main([job, "--help"]) == 0
    out = capsys.readouterr().out
    assert said in out
    if said not in ("ridge", "alternate"):
        assert f" {said} of the package example-plugins" in re.sub(" +", " ", out)
    assert "example_plugins" not in sys.modules


def test_a_search_by_plug_ins(package, tmp_path, capsys):
    words = ["search", "space=tiny_mbconv", "evaluator=python:example_plugins:count_of_wide_kernels", "n_trials=6",
             "sampler=elitist", "executor=logged", "plots=false"]  # fmt: skip
    assert main([*words, "sampler.restart=2", f"out={tmp_path / 'run'}"]) == 0
    trials = pd.read_csv(tmp_path / "run" / "trials.csv")
    assert (trials["state"] == "COMPLETE").sum() == 6
    capsys.readouterr()
    for wrong, told in (
        ("sampler.restat=2", "sampler.restat"),
        ("sampler.restart=two", r"sampler.restart=two: unusable value \(accepted: int or null\)"),
        ("sampler=elitest", "did you mean 'elitist'"),
    ):
        assert main([*words, wrong, f"out={tmp_path / 'wrong'}"]) == 2
        assert re.search(told, capsys.readouterr().err)


def test_a_fit_by_plug_ins(package, tmp_path):
    words = ["model=graph", "n=60", "encoder=mean", "ranking=margin", "ranking.margin=0.5", "fit.epochs=3"]
    assert main(["fit", *words, "plots=false", f"out={tmp_path / 'graph'}"]) == 0
    header = json.loads((tmp_path / "graph" / "model" / "model.json").read_text())
    assert (header["encoder"]["layer"], header["config"]["ranking"]) == ("mean", "margin")
    assert header["config"]["ranking_options"] == {"margin": 0.5}
    assert main(["fit", "model=ridge", "n=60", "plots=false", f"out={tmp_path / 'ridge'}"]) == 0
    assert ab.load_model(tmp_path / "ridge").family == "ridge"


def test_a_space_of_a_scheme_is_not_made_again_for_its_declaration(monkeypatch):
    from autobuild.spaces import registry

    monkeypatch.setattr(registry, "_imported", lambda *_: pytest.fail("it takes a minute"))
    space = ab.sequence_space("own", {"a": 1}, {"width": [1, 2]}, text="w{width}")
    space.source = "quant:digits_dit"
    assert registry.declared_by(space) is None
