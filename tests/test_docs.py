"""What the documents show can be run, and what they say of the spaces is so."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import autobuild as ab
from autobuild.cli import main
from benchmarks.documents import DOCS, blocks, write_files

DOCUMENTS = sorted(path.name for path in DOCS.glob("*.md"))
README = Path(__file__).resolve().parents[1] / "README.md"


@pytest.fixture
def folder(tmp_path, monkeypatch, own_plugins):
    """An empty working folder, whose files can be imported; what is imported and registered there does not stay."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(Path(ab.__file__).parents[1]))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


RUN = [
    *("build.md", "cost.md", "experiments.md", "fusion.md", "gallery.md", "latency.md", "own_space.md", "plugins.md"),
    *("quantisation.md", "transfer.md"),
]
STARTS_CLUSTERS = pytest.param("cluster.md", marks=pytest.mark.slow)
ALL = ["../README.md", *DOCUMENTS]


def commands(text: str) -> list[list[str]]:
    """The commands of a block, as words; what follows a prompt, continued lines and ``&&`` included."""
    lines = re.findall(
        r"^(?:\w*\$ +)?(?:autobuild|python|pip|eval)(?: .*)?$", re.sub(r"\\\n\s*", " ", text), re.MULTILINE
    )
    parts = [part for line in lines for part in re.sub(r"^\w*\$ +", "", line).split("&&")]
    return [words for part in parts if (words := shlex.split(part.replace("$(hostname)", "here"), comments=True))]


@pytest.mark.parametrize("document", [*RUN, STARTS_CLUSTERS])
def test_every_block_runs_in_order(document, folder, capsys):
    names: dict[str, object] = {}
    ran = 0
    for block in blocks(document):
        if block.file:
            (folder / block.file).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.file).write_text(block.code)
        elif block.kind == "python":
            exec(compile("\n" * (block.line - 1) + block.code, document, "exec"), names)
            ran += 1
        elif block.kind == "sh" and block.composed is None:
            for command, *words in commands(block.code):
                if command == "autobuild":
                    assert main(words) == 0, (words, capsys.readouterr().err)
                    ran += 1
    assert ran >= (1 if document == "fusion.md" else 3)


@pytest.mark.parametrize("document", ALL)
def test_every_other_command_starts_its_job(document, folder, composed, capsys):
    """Commands of console sessions, within sentences, and of blocks that say why they are not run."""
    shown = [block for block in blocks(document) if block.kind in ("sh", "console", "text")]
    written = re.sub(r"^```.*?^```$", "", (DOCS / document).read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    inline = [text for text in re.findall(r"`((?:autobuild|python -m) [^`]*)`", written) if "..." not in text]
    write_files(document, folder)
    found = [shlex.split(text) for text in inline]
    for block in shown:
        if block.kind != "sh" or block.composed is not None:
            found += commands(block.code)
        elif re.search(r"^(autobuild|python)|&& autobuild", block.code, re.MULTILINE):
            told = f"{document}:{block.line}: neither run nor marked <!-- composed: why -->"
            assert document in [*RUN, "cluster.md"], told
    for words in found:
        if words[0] == "autobuild":
            code, started = composed(words[1:])
            assert code == 0, (words, capsys.readouterr().err)
            assert started or {"--help", "--version", "--cfg", "--info", "-sc"} & set(words), words
        elif words[:2] == ["python", "-m"]:
            assert words[2] in ("venv", "build", "autobuild") or importlib.util.find_spec(words[2]), words


def test_the_space_of_the_document_conforms(folder):
    write_files("own_space.md", folder)
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_skip_seg.py"]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stdout
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 10


def test_the_cost_of_the_document_conforms(folder):
    write_files("cost.md", folder)
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_my_costs.py"]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stdout


def test_costs_of_the_documents_space_equal_counting(folder):
    from autobuild.cost import costs_of
    from benchmarks.report import counted_by_torch

    write_files("own_space.md", folder)
    __import__("skip_seg")
    space = ab.space("skip_seg")
    archs = space.sample(12, seed=3)
    for shape in [(3, 64, 64), (1, 37, 37)]:
        costs = costs_of(space, num_classes=5, input_shape=shape)
        nets = [space.realise(arch, 5, shape[0]) for arch in archs]
        counts = zip(costs["params"](archs).tolist(), costs["macs"](archs).tolist(), strict=True)
        assert list(counts) == [counted_by_torch(net, shape) for net in nets]


def test_a_python_file_serves_the_command_line(folder):
    write_files("own_space.md", folder)
    line = [sys.executable, "run.py", "spaces", "space=skip_seg"]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=folder)
    assert "declared in Python, and registered" in done.stdout, done.stderr
    assert "fusion" in done.stdout
    assert main(["spaces", "space=skip_seg.py"]) == 2


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_and_pictures_are_there(document):
    text = (DOCS / document).read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)#]+)\)", prose):
        if not target.startswith("https://"):
            assert (DOCS / target).exists(), target
            assert not target.endswith(".png") or (DOCS / target).stat().st_size < 60_000, target
    assert f"docs/{document}" in README.read_text(encoding="utf-8")


def test_every_space_that_ships_is_described():
    from autobuild.cost import costs_of
    from autobuild.spaces.registry import SPACES

    text = (DOCS / "spaces.md").read_text(encoding="utf-8")
    for name in SPACES.shipped():  # other tests register spaces of their own
        section = re.search(rf"^## `{name}`\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
        assert section, name
        space = ab.space(name)
        assert f"![{name}](pictures/{name}.png)" in section[1]
        assert f"{space.size:,}" in section[1]
        assert f"`{space.example}`" in section[1]
        try:
            counts = costs_of(space)
        except ab.AutobuildError:
            counts = {}
        for cost in counts:
            assert f"`{cost}`" in section[1], (name, cost)
        for feature in space.features:
            assert feature.name in section[1], (name, feature.name)


def test_tables_in_documents_are_those_of_the_benchmarks():
    from benchmarks.readme import filled

    for document in DOCUMENTS:
        text = (DOCS / document).read_text(encoding="utf-8")
        assert filled(text) == text


def test_the_summary_is_that_of_the_tables():
    from benchmarks.report import RESULTS, markdown
    from benchmarks.summary import table

    assert (RESULTS / "summary.md").read_text(encoding="utf-8").strip() == markdown(table())
