"""Spaces in Python that are named package.module:object, on the command line and in Python."""

import os
import pickle
import subprocess
import sys

import pytest

import autobuild as ab
from autobuild.cli import main
from autobuild.cost import count_params
from autobuild.errors import SpaceError

MODULE = """
from torch import nn
from autobuild.spaces import sequence_space


def declared(deep=1):
    return sequence_space("{name}", {{"a": (1, 2)}}, {{"kernel": [1, 3]}}, text="k{{kernel}}", options={{"deep": deep}})


class Mine:
    SPACE = declared()
    INPUT_SHAPE = (3, 8, 8)
    NUM_CLASSES = 7
    space = staticmethod(declared)

    @staticmethod
    def realise(layers, num_classes, in_channels, deep=1):
        convs = [nn.LazyConv2d(4, layer["kernel"], padding=layer["kernel"] // 2) for layer in layers[0] * deep]
        convs[0] = nn.Conv2d(in_channels, 4, layers[0][0]["kernel"], padding=layers[0][0]["kernel"] // 2)
        convs[1:] = [nn.Conv2d(4, 4, conv.kernel_size, padding=conv.padding) for conv in convs[1:]]
        return nn.Sequential(*convs, nn.Flatten(), nn.Linear(4 * 64, num_classes))


def made(width=1):
    return sequence_space("{name}_made", {{"a": width}}, {{"kernel": [1, 3]}})


def failing():
    raise ValueError("no file")


class NoSpace:
    pass
"""


@pytest.fixture
def module(tmp_path, monkeypatch, request):
    """A package in the working folder that nobody imported."""
    name = f"own_{request.node.name.partition('[')[0]}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / name).mkdir()
    (tmp_path / name / "spaces.py").write_text(MODULE.format(name=name))
    return f"{name}.spaces"


def test_a_class_is_found_with_its_networks_and_options(module):
    space = ab.space(f"{module}:Mine")
    name = module.partition(".")[0]
    assert (space.name, space.source, space.size) == (name, f"{module}:Mine", 6)
    assert ab.costs(space)["params"]("k3").tolist() == [count_params(space.realise("k3"))] == [112 + 257 * 7]
    deep = ab.space(f"{module}:Mine(deep=2)")
    assert deep.name == f"{name}(deep=2)"
    assert ab.space(f"{module}:Mine", deep=2, num_classes=3).realise("k1")[-1].out_features == 3
    assert count_params(deep.restrict(kernel=3).realise("k3")) == 112 + 148 + 257 * 7
    assert ab.space(name).stages == space.stages  # from now on by its name as well
    assert ab.space(f"{module}:declared").name == name
    assert ab.space(f"{module}:made").size == 2
    assert ab.space(f"{module}:made(width=2)").size == 4
    assert ab.space(f"{module}:made", width=3).size == 8


def test_another_process_that_receives_the_space_builds_its_networks(module, tmp_path):
    space = ab.space(f"{module}:Mine", deep=2)
    (tmp_path / "sent.pkl").write_bytes(pickle.dumps(space.restrict(kernel=3)))
    code = "import pickle; s = pickle.load(open('sent.pkl', 'rb')); print(len(s.realise('k3')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "4"), done.stderr


def test_jobs_take_it(module, capsys):
    assert main(["sample", f"space={module}:Mine", "n=3", "out=drawn"]) == 0
    assert main(["cost", f"space={module}:Mine", "archs=drawn/sample.csv", "cost=params,macs", "out=costs"]) == 0
    assert main(["spaces", f"space={module}:Mine"]) == 0
    assert f"declared in {module}:Mine" in capsys.readouterr().out
    assert main(["sample", f"space={module}:Mien", "n=3"]) == 2
    assert "did you mean 'Mine'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("{module}:NoSpace", r"NoSpace.*not a search space: accepted are a class or module with SPACE"),
        ("{module}:Mie", "did you mean 'Mine'"),
        ("{module}s:Mine", r"cannot be imported .ModuleNotFoundError.*modules are looked for in"),
        ("{module}:", "write space=package.module:Class"),
        (":Mine", "write space=package.module:Class"),
        ("{module}:Mine(deeep=2)", "did you mean 'deep'"),
        ("{module}:failing", "called with nothing: ValueError: no file"),
        ("{module}:made(hight=2)", "called with hight=2: TypeError"),
        ("{module}", r"a space of your own in Python is named package.module:Class"),
        ("spaces.py", "name what declares the space, as spaces:Class"),
    ],
)
def test_what_is_no_space_is_told(module, name, said):
    with pytest.raises(SpaceError, match=said):
        ab.space(name.format(module=module))
