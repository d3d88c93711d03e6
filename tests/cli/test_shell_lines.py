"""Literal shell lines: what a user types, and what comes back."""

from __future__ import annotations

import csv
import json
import os
import re
import resource
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import autobuild as ab
from autobuild.jobs._options import job_names, read_job

ARCH = "e3k3-e4k5|e6k7-e3k3-e3k3|e4k5-e4k5|e6k3-e6k3-e6k3-e6k3|e3k7-e6k7"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("text", [
    "|nor_conv_3x3~0|+|none~0|skip_connect~1|",
    "a(b),c=d+e~f",
    'say "yes"',
    "back\\slash\\",
    "<= 8 # not a comment; $HOME `date` {a: [b]}",
    "",
])  # fmt: skip
def test_an_architecture_reaches_the_space_exactly_as_typed(shell, text: str) -> None:
    """The space rejects it, quoting what it was given: so nothing on the way changed it."""
    done = shell(f"autobuild export space=ofa_mbv3 archs='{text}'")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert (repr(text) if text else "arch") in done.stderr


def test_a_quote_within_an_architecture_survives(shell) -> None:
    done = shell('''autobuild export space=ofa_mbv3 archs="it's"''')
    assert '"it\'s"' in done.stderr


@pytest.mark.parametrize("typed", ["target='100*log(acc)'", "target='100*acc/latency_gpu - 2*max(params, 3)'",
                                   'target="min(acc, 0.9)"', "target='acc <= 8'", "'target=-acc**2'"])  # fmt: skip
def test_a_target_is_composed_as_typed(shell, typed: str) -> None:
    import yaml

    done = shell(f"autobuild fit {typed} --cfg job")
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["target"] == typed.strip("'").split("=", 1)[1].strip("'\"")


@pytest.mark.parametrize("name", ["a b", "a,b", "x(1)", "1e5", "true", "q=r", "it's", "k{v}[2]", "null_"])
def test_folders_with_awkward_names_are_written(shell, work: Path, name: str) -> None:
    done = shell(f'autobuild sample space=ofa_mbv3 n=2 out="{name}"')
    assert done.returncode == 0, done.stderr
    assert len(rows(work / name / "sample.csv")) == 2


def test_unknown_names_are_answered_with_the_nearest(shell) -> None:
    for line, wanted in {
        "autobuild biuld": "did you mean 'build'",
        "autobuild sample spcae=ofa_mbv3": "did you mean 'space'",
        "autobuild sample space=ofa_mbv4": "did you mean 'ofa_mbv3'",
        "autobuild fit fit.epoch=3": "did you mean 'fit.epochs'",
        "autobuild fit encoder=gatv3": "did you mean 'gatv2'",
        "autobuild fit encoder.widht=3": "did you mean 'encoder.width'",
        "autobuild fit ranking=src": "did you mean 'srcc'",
        "autobuild sample design=covr": "did you mean 'cover'",
        "autobuild --hlep": "did you mean '--help'",
        "autobuild sample +n=3": "++n=3",
    }.items():
        done = shell(line)
        assert done.returncode == 2, line
        assert done.stderr.startswith("error: "), line
        assert wanted in done.stderr, line
        assert "Traceback" not in done.stderr
        assert done.stdout == ""


@pytest.mark.parametrize("words", [
    "sample n=0", "sample n=2.5", "sample n=x", "sample n=[1,2]", "sample n=", "sample n", "sample n=[", "sample fit",
    "sample seed=-1", "fit fit.holdout=1", "fit fit.lr=0", "fit plots=perhaps", "fit fit.regression=l7",
    "label seeds=[a]",
])  # fmt: skip
def test_unusable_values_give_one_line(shell, words: str) -> None:
    done = shell(f"autobuild {words}")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert words.split()[-1].split("=")[0] in done.stderr


@pytest.mark.parametrize("job", job_names())
def test_every_job_explains_itself(shell, job: str) -> None:
    done = shell(f"autobuild {job} --help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"autobuild {job}: ")
    for part in ("Keys and their defaults:", "Examples:", "Writes:", "out=null", f"autobuild {job}"):
        assert part in done.stdout


@pytest.mark.parametrize(
    "line",
    ["--help", "build --help", "--version", "spaces", "spaces space=ofa_mbv3"],
)
def test_help_and_spaces_answer_within_two_seconds(shell, line: str) -> None:
    """In processor time, which other work on the machine does not stretch."""
    seconds = []
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert shell(f"autobuild {line}").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) <= 2.0


@pytest.mark.parametrize(
    "words", ["--help", "build --help", "spaces", "spaces space=ofa_mbv3", "spaces space=tiny_mbconv"]
)
def test_quick_commands_import_nothing_heavy(shell, words: str) -> None:
    line = " ".join(f"'{word}'," for word in words.split())
    done = shell(
        f'''{sys.executable} -c "
import sys
from autobuild.cli import main
assert main([{line}]) == 0
print('LOADED', sorted({{'torch', 'pandas', 'matplotlib', 'sklearn', 'scipy', 'optuna'}} & set(sys.modules)))
"'''
    )
    assert done.stdout.endswith("LOADED []\n"), done.stdout + done.stderr


def test_a_sweep_gives_every_job_a_folder_of_its_own(shell, work: Path) -> None:
    done = shell("autobuild sample -m space=ofa_mbv3,ofa_proxyless seed=1,2 n=3 out='my sweep'")
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (work / "my sweep").iterdir() if path.is_dir())
    assert names == [
        "n=3,seed=1,space=ofa_mbv3",
        "n=3,seed=1,space=ofa_proxyless",
        "n=3,seed=2,space=ofa_mbv3",
        "n=3,seed=2,space=ofa_proxyless",
    ]
    texts = [(work / "my sweep" / name / "sample.csv").read_text() for name in names]
    assert len(set(texts)) == 4
    metrics = json.loads((work / "my sweep" / names[3] / "metrics.json").read_text())
    assert metrics["n"] == 3


def test_a_sweep_without_out_makes_runs_and_leaves_the_folder_tidy(shell, work: Path) -> None:
    done = shell("autobuild sample -m space=ofa_mbv3 seed=1,2,3 n=2")
    assert done.returncode == 0, done.stderr
    assert len(list((work / "runs" / "sample").glob("*/*/sample.csv"))) == 3
    assert [path.name for path in work.iterdir()] == ["runs"]


def test_a_sweep_goes_on_after_a_job_that_fails(shell, work: Path) -> None:
    done = shell("autobuild sample -m space=ofa_mbv3,no_such_space,ofa_proxyless n=2 out=s")
    assert done.returncode == 2
    assert done.stderr.startswith("error: unknown search space 'no_such_space'")
    assert "Traceback" not in done.stderr
    assert len(list((work / "s").glob("*/sample.csv"))) == 2


def test_texts_with_commas_can_be_swept_in_quotes(shell) -> None:
    done = shell("""autobuild export -m space=ofa_mbv3 archs="'a,b','c(d)'" out=s""")
    assert done.returncode == 2
    assert "'a,b'" in done.stderr
    assert "'c(d)'" in done.stderr


def test_without_a_sweep_nothing_but_the_run_is_written(shell, work: Path) -> None:
    assert shell("autobuild spaces && autobuild spaces space=ofa_mbv3").returncode == 0
    assert list(work.iterdir()) == []
    assert shell("autobuild sample space=ofa_mbv3 n=2").returncode == 0
    assert [path.name for path in work.iterdir()] == ["runs"]


def test_an_out_that_is_a_file_is_refused(shell) -> None:
    done = shell("touch taken; autobuild sample space=ofa_mbv3 n=2 out=taken")
    assert done.returncode == 2
    assert done.stderr == "error: out=taken: cannot be written: it is a file, not a folder\n"


def test_a_reader_that_leaves_is_no_error(shell) -> None:
    done = shell("autobuild sample space=ofa_mbv3 n=2000 out=x | head -1; autobuild build --help | head -1")
    assert done.stderr == ""


def test_cover_shows_every_value_often_enough(shell, work: Path) -> None:
    done = shell("autobuild sample space=ofa_mbv3 design=cover cover=4 n=40 out=x")
    assert done.returncode == 0, done.stderr
    assert min(int(row["architectures"]) for row in rows(work / "x" / "counts.csv")) >= 4
    archs = [row["arch"] for row in rows(work / "x" / "sample.csv")]
    assert len(set(archs)) == 40
    # counted again from the texts alone
    for unit in range(5):
        for token in ("e3", "e4", "e6", "k3", "k5", "k7"):
            assert sum(token in arch.split("|")[unit] for arch in archs) >= 4
        for depth in (2, 3, 4):
            assert sum(arch.split("|")[unit].count("-") == depth - 1 for arch in archs) >= 4


def test_the_users_own_space_works_where_a_name_does(shell, work: Path) -> None:
    (work / "my space.yaml").write_text(
        "name: mine\nunits: {a: [1, 2], b: 1}\nfeatures: {op: [conv, pool], kernel: [3, 5]}\ntext: '{op}{kernel}'\n"
    )
    done = shell("""autobuild spaces space="$PWD/my space.yaml" && autobuild sample space='my space.yaml' n=4 out=x""")
    assert done.returncode == 0, done.stderr
    assert f"declared in {work / 'my space.yaml'}" in done.stdout
    assert "architectures: 80" in done.stdout
    assert len(rows(work / "x" / "sample.csv")) == 4
    too_many = shell("autobuild sample space='my space.yaml' n=81 out=y")
    assert too_many.returncode == 2
    assert "80" in too_many.stderr


def test_json_export_describes_the_graph(shell, work: Path) -> None:
    done = shell(f"autobuild export space=ofa_mbv3 archs='{ARCH}' out=x")
    assert done.returncode == 0, done.stderr
    told = json.loads((work / "x" / "architecture.json").read_text())
    assert told["arch"] == ARCH
    assert {name: len(stage) for name, stage in told["layers"].items()} == {
        "stage1": 2, "stage2": 3, "stage3": 2, "stage4": 4, "stage5": 2,
    }  # fmt: skip
    assert told["layers"]["stage2"][0] == {"expand": 6, "kernel": 7}
    assert len(told["graph"]["nodes"]) == 13
    assert told["graph"]["edges"] == [[i, i + 1] for i in range(12)]


@pytest.mark.parametrize("job", job_names())
def test_the_examples_in_the_help_start_their_jobs(job: str, composed, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    examples = read_job(job).examples
    assert 2 <= len(examples) <= 5
    for example in examples:
        for line in re.sub(r'"\$\(.*?\)"', "x", example).split("&&"):
            name, *words = shlex.split(line)
            assert name == "autobuild"
            code, started = composed(words)
            assert (code, len(started) > 0) == (0, True), (line, capsys.readouterr().err)


def test_a_narrowed_space_is_described(shell, work: Path) -> None:
    import autobuild as ab

    space = ab.space("ofa_mbv3")
    small = space.restrict({unit.name: [0, 9, 90] for unit in space.units})
    (work / "small.json").write_text(small.to_json())
    done = shell("autobuild spaces space=small.json && autobuild sample space=small.json n=20 out=x")
    assert done.returncode == 0, done.stderr
    assert "architectures: 243" in done.stdout
    assert all(row["arch"] in small for row in rows(work / "x" / "sample.csv"))


def test_a_terminal_that_lacks_a_letter_gets_its_code(tmp_path: Path) -> None:
    (tmp_path / "umlaut.yaml").write_text("name: \u00fcb\nunits: {a: 1}\nfeatures: {k: [1, 2]}\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "autobuild", "spaces", "space=umlaut.yaml"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(Path(ab.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "\\xfcb" in done.stdout
