"""Architectures of torchvision, also where it has no compiled operators for this torch."""

import importlib.util
import subprocess
import sys

import pytest

import autobuild as ab
from autobuild.errors import ConfigError
from benchmarks.report import counted_by_torch

installed = pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="torchvision is not installed")


@installed
def test_published_counts_of_torchvision():
    """MobileNetV3-small: 2,542,856 parameters and 0.06 GMACs are what torchvision's documentation says."""
    net = ab.load_zoo("mobilenet_v3_small")
    graph = ab.graph_of(net, (1, 3, 224, 224), fold=False)
    assert graph.params == 2_542_856
    assert (graph.params, graph.macs) == counted_by_torch(net, (3, 224, 224))
    assert round(graph.macs / 1e9, 2) == 0.06
    assert graph.uncounted == {}
    assert graph.nodes[1].module == "features.0.0"


@installed
def test_unknown_names_are_answered_with_near_ones():
    with pytest.raises(ConfigError, match=r"no model 'resnet51'.*did you mean 'resnet50'"):
        ab.load_zoo("torchvision/resnet51")


def test_unknown_zoos_are_refused():
    with pytest.raises(ConfigError, match=r"the zoo 'keras' is unknown: .*accepted: torchvision, timm"):
        ab.load_zoo("keras/vgg16")


def test_missing_libraries_say_what_to_install():
    code = (
        "import sys; sys.modules['torchvision'] = sys.modules['timm'] = None\n"
        "import autobuild as ab\n"
        "try: ab.load_zoo('resnet18')\n"
        "except ab.AutobuildError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'autobuild-nas[zoo]'" in done.stdout


def test_missing_operators_are_defined_and_said(tmp_path):
    """A package that fails as torchvision does without its operators."""
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(
        "__version__ = '0.0'\n"
        "import torch\n"
        "from torchvision import models\n"
        "for operator in ('nms', 'qnms'):\n"
        "    @torch.library.register_fake('torchvision::' + operator)\n"
        "    def fake(dets, scores, iou_threshold): return dets\n"
    )
    (package / "models.py").write_text(
        "import torch\n"
        "def list_models(): return ['one']\n"
        "def get_model(name, weights, width): return torch.nn.Linear(width, 1)\n"
        "def get_model_builder(name): return get_model\n"
    )
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nimport autobuild as ab\nprint(ab.load_zoo('one', width=3))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Linear(in_features=3" in done.stdout
    assert "no compiled operators for torch" in done.stderr


@installed
def test_segmentation_fetches_no_weights_for_the_network_inside(monkeypatch):
    """torchvision's default would be trained weights of the backbone."""

    def refuse(*args, **kwargs):
        raise AssertionError("something is downloaded")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", refuse)
    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    net = ab.load_zoo("lraspp_mobilenet_v3_large", num_classes=5)
    assert net.classifier.low_classifier.out_channels == 5
