"""A job is one file: its help, its keys, their checks and its sweep come from there."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore

from autobuild import jobs
from autobuild.cli import main
from autobuild.jobs import _options as options
from autobuild.jobs import _overrides as overrides

HELLO = '''"""Greet somebody.

Examples:
    autobuild hello name=Ada

Writes:
    hello.txt  the greeting
"""

from __future__ import annotations

from dataclasses import dataclass

from autobuild.jobs.keys import RunKeys
from autobuild.jobs.run import Run
from autobuild.settings.option import group, option


@dataclass
class Keys(RunKeys):
    """Its keys."""

    ranking: str = group("srcc")
    name: str = option("world", "whom", former=("whom",))
    times: int = option(1, "how often", ">=1 <=3")


def run(config):
    with Run.open("hello", config) as folder:
        folder.write_text("hello.txt", f"hello {config['name']}! " * config["times"] + config["ranking"]["loss"])
        folder.record(times=config["times"])
    return 0
'''
CACHES = (options.job_names, options.read_job, overrides.known_keys, overrides.known_groups)


@pytest.fixture(autouse=True)
def _hello(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "hello.py").write_text(HELLO)
    monkeypatch.setattr(jobs, "__path__", [*jobs.__path__, str(tmp_path / "more")])
    monkeypatch.chdir(tmp_path)
    for cached in CACHES:
        cached.cache_clear()
    yield
    sys.modules.pop("autobuild.jobs.hello", None)
    ConfigStore.instance().repo["job"].pop("hello.yaml", None)
    for cached in CACHES:
        cached.cache_clear()


def test_it_is_listed_explained_and_run(capsys) -> None:
    assert main(["--help"]) == 0
    assert "hello       Greet somebody." in capsys.readouterr().out
    assert main(["hello", "--help"]) == 0
    text = capsys.readouterr().out
    for line in ("times=1", "how often [int >=1 <=3]", "autobuild hello name=Ada", "hello.txt", "ranking.eps=0.1"):
        assert line in text
    assert "whom=" not in text
    assert main(["hello", "name=Ada's a,b", "times=2", "ranking=none", "out=a"]) == 0
    assert Path("a/hello.txt").read_text() == "hello Ada's a,b! hello Ada's a,b! none"


@pytest.mark.parametrize(("word", "wanted"), [
    ("times=4", "times=4: unusable value (accepted: int >=1 <=3)"), ("time=2", "did you mean 'times'"),
    ("ranking.k=3", "ranking.k belongs to ranking=hybrid or ranking=lambdarank"),
    ("ranking=srrc", "did you mean 'srcc'"),
])  # fmt: skip
def test_its_keys_are_checked(word: str, wanted: str, capsys) -> None:
    assert main(["hello", word]) == 2
    assert wanted in capsys.readouterr().err


def test_a_former_name_is_taken_with_a_note(capsys) -> None:
    assert main(["hello", "whom=you <= me", "out=a"]) == 0
    assert "note: whom= is now called name=" in capsys.readouterr().out
    assert Path("a/hello.txt").read_text() == "hello you <= me! srcc"


def test_it_is_swept() -> None:
    assert main(["hello", "-m", "name=a,b", "times=1,2", "ranking=glob(*c)", "out=s"]) == 0
    with Path("s/sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted((row["name"], row["times"]) for row in rows) == [("a", "1"), ("a", "2"), ("b", "1"), ("b", "2")]
