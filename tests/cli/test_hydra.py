"""What Hydra's users type: sweeps, their own configurations, folders, flags; in this process, up to the job's start."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from functools import reduce
from operator import getitem
from pathlib import Path

import pytest
import yaml

import autobuild as ab
from autobuild.cli import main
from autobuild.jobs._options import job_names, read_job
from autobuild.jobs._overrides import CHOICES, FLAGS, SHORT, parse, split_commas
from autobuild.resources import resource_dir


@pytest.fixture(autouse=True)
def _in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder of configurations of a user's own."""
    files = {
        "sampler/mine.yaml": "defaults: [evolution, _self_]\npopulation: 20\n",
        "sampler/half.yaml": "name: evolution\npopulation: 20\n",
        "sampler/odd.yaml": "name: evolution\nmutation: layer\npopulation: 20\nspeed: 3\n",
        "experiment/first.yaml": "# @package _global_\ndefaults:\n  - override /job: fit\n  - override /encoder: gcn\n"
        "model: graph\nn: 50\nlimit: 7\ntarget: acc - ${limit}\nhardware: mobile_npu\n",
        "whole.yaml": "defaults: [autobuild, {override job: sample}, _self_]\nspace: ofa_mbv3\nn: 3\n",
        "sweeping.yaml": "defaults: [autobuild, {override job: sample}, _self_]\n"
        "hydra: {mode: MULTIRUN, sweeper: {params: {seed: '4,5'}}}\n",
    }
    for name, text in files.items():
        (tmp_path / "conf" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "conf" / name).write_text(text)
    return tmp_path / "conf"


def values(started: list, key: str) -> list:
    found = []
    for _, config in started:
        value = config
        for part in key.split("."):
            value = value[part]
        found.append(value)
    return found


# -- values ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("job", "word", "wanted"), [
    ("fit", "model=auto,gp,graph", ["auto", "gp", "graph"]),
    ("fit", "seed=0,1,2", [0, 1, 2]),
    ("fit", "seed=range(1,5)", [1, 2, 3, 4]),
    ("fit", "n=range(10,40,10)", [10, 20, 30]),
    ("fit", "seed=sort(3,1,2)", [1, 2, 3]),
    ("fit", "n=choice(10,20)", [10, 20]),
    ("fit", "plots=true,false", [True, False]),
    ("label", "workers=1,2,4", [1, 2, 4]),
    ("label", "executor=inline,local", ["inline", "local"]),
    ("fit", "fit.regression=mse,huber", ["mse", "huber"]),
    ("fit", "fit.lr=1e-3,0.01", [0.001, 0.01]),
    ("fit", "n=null,5", [None, 5]),
    ("fit", "labels=a.csv,dir with spaces/b.csv,null", ["a.csv", "dir with spaces/b.csv", None]),
    ("fit", "labels=choice(a.csv,b.csv)", ["a.csv", "b.csv"]),
    ("fit", "target=acc,max(acc, 5)", ["acc", "max(acc, 5)"]),
    ("fit", "target=max(acc, 5)", ["max(acc, 5)"]),
    ("fit", "target=choice('max(acc, 5)',acc)", ["max(acc, 5)", "acc"]),
    ("fit", "target='max(acc, 5)',\"min(acc, 2)\"", ["max(acc, 5)", "min(acc, 2)"]),
    ("fit", "target=sort('b','a')", ["a", "b"]),
    ("fit", "target=`cifar10-test`,`a,b`", ["`cifar10-test`", "`a,b`"]),
    ("fit", "space=ofa_mbv3(width=1.2),lab.spaces:Mine", ["ofa_mbv3(width=1.2)", "lab.spaces:Mine"]),
    ("cost", "cost=macs,params", ["macs", "params"]),
    ("cost", "cost='macs,params',macs", ["macs,params", "macs"]),
    ("cost", "hardware=edge_npu,mine.yaml", ["edge_npu", "mine.yaml"]),
    ("build", "build.where=acc > 1,null", ["acc > 1", None]),
    ("label", "seeds=[1],[1,2]", ["[1]", "[1,2]"]),
    ("search", "sampler=tpe,random", ["tpe", "random"]),
    ("fit", "encoder=glob(g*,exclude=gin)", ["gat", "gatv2", "gcn"]),
    ("fit", "encoder.width=8,16", [8, 16]),
])  # fmt: skip
def test_a_sweep_tries_every_value(composed, job: str, word: str, wanted: list) -> None:
    code, started = composed([job, "-m", word, "out=swept"])
    assert code == 0
    key = word.split("=")[0]
    key = {
        "workers": "n_jobs",
        "build.where": "where",
        "sampler": "sampler.name",
        "encoder": "encoder.layer",
        "executor": "executor.kind",
    }.get(key, key)
    assert values(started, key) == wanted
    folders = values(started, "out")
    assert len(set(folders)) == len(wanted)
    assert {os.path.dirname(folder) for folder in folders} == {"swept"}


def test_a_shuffled_sweep_tries_the_same(composed) -> None:
    _, started = composed(["fit", "-m", "model=shuffle(gp,graph,linear)", "seed=shuffle(range(0,4))", "out=s"])
    assert sorted(set(values(started, "model"))) == ["gp", "graph", "linear"]
    assert sorted(set(values(started, "seed"))) == [0, 1, 2, 3]
    assert len(started) == 12


@pytest.mark.parametrize(("word", "wanted"), [
    ("target=max(acc, 5)", "max(acc, 5)"),
    ("target='max(acc, 5)'", "max(acc, 5)"),
    ("target=\"it's\"", "it's"),
    ("target=`cifar10-test`", "`cifar10-test`"),
    ("target=cifar10-test", "cifar10-test"),
    ("target=-acc**2", "-acc**2"),
    ("target=acc\r", "acc"),
    ("target=größe/µs", "größe/µs"),
    ("target=\\${acc}", "${acc}"),
    ("target=acc - ${seed}", "acc - 0"),
    ("target=a,b", "a,b"),
    ("target=1e5", "1e5"),
    ("space=package.module:Class", "package.module:Class"),
    ("space=C:\\spaces\\mine.yaml", "C:\\spaces\\mine.yaml"),
    ("test=", None),
    ("test=null", None),
    ("labels=~/labels.csv", os.path.expanduser("~/labels.csv")),
    ("out=runs/${space}_${seed}", "runs/tiny_mbconv_0"),
    ("out=${hydra.job.name}/${hydra:job.name}", "autobuild/autobuild"),
    ("out=${oc.env:NOWHERE,home}", "home"),
    ("++seed=3", 3),
    ("hydra.run.dir=here/${seed}", "here/0"),
    ("n=${oc.env:FIFTY}", 50),
    ("n='50'", 50),
    ("fit.holdout=${oc.env:HALF}", 0.5),
    ("plots=${oc.env:NO}", False),
    ("plots=off", False),
    ("plots=0", False),
])  # fmt: skip
def test_a_value_arrives_as_meant(composed, monkeypatch, word: str, wanted: object) -> None:
    for name, text in (("FIFTY", "50"), ("HALF", "0.5"), ("NO", "no")):  # the environment holds texts
        monkeypatch.setenv(name, text)
    code, [(name, config)] = composed(["fit", word])
    assert (code, name) == (0, "fit")
    key = word.split("=")[0].lstrip("+")
    assert reduce(getitem, ["out"] if key.startswith("hydra") else key.split("."), config) == wanted


@pytest.mark.parametrize(
    "text", ["acc >= 70 and params < 5e6", "a|b", "{x: [1,3,224,224]}", "a=b", "#1", "100%", "$HOME"]
)
def test_limits_arrive_as_typed(composed, text: str) -> None:
    code, [(_, config)] = composed(["build", f"build.where={text}"])
    assert (code, config["where"]) == (0, text)


@pytest.mark.parametrize(("text", "parts"), [
    ("a,b", ["a", "b"]), ("max(a, b),c", ["max(a, b)", "c"]), ("'a,b', c", ["'a,b'", "c"]),
    ("[1,2],{a: 1, b: 2}", ["[1,2]", "{a: 1, b: 2}"]),
    ("it's,b", ["it's", "b"]), ("f(a,b", ["f(a,b"]), ("a),b", ["a)", "b"]), ("`a,b`,c", ["`a,b`", "c"]), ("", [""]),
])  # fmt: skip
def test_commas_inside_brackets_and_quotes_part_nothing(text: str, parts: list[str]) -> None:
    assert split_commas(text) == parts


def test_no_key_is_called_as_a_group() -> None:
    """Hydra would take its value for a choice: ``hardware=my.yaml`` needs that there is no folder conf/hardware."""
    groups = {path.name for path in resource_dir("conf").iterdir() if path.is_dir()}
    for job in job_names():
        assert not groups & set(read_job(job).keys)


# -- flags -------------------------------------------------------------------------------------------------------------


def test_every_flag_of_hydra_is_known() -> None:
    from hydra._internal.utils import get_args_parser

    for action in get_args_parser()._actions:
        for option in action.option_strings:
            assert SHORT.get(option, option) in FLAGS, option
            if action.choices:
                assert CHOICES[SHORT.get(option, option)] == tuple(action.choices)
            assert (FLAGS[SHORT.get(option, option)] == 0) == (action.nargs == 0), option


@pytest.mark.parametrize(("line", "wanted"), [
    ("fit --cfg job", "scorer"),
    ("fit -c hydra", "job_logging:"),
    ("fit --cfg all", "hydra:"),
    ("fit --cfg=job --package encoder", "layer: gatv2"),
    ("fit encoder=gcn -c job -p encoder.layer", "gcn"),
    ("fit target=x-${seed} --cfg job --resolve", "x-0"),
    ("--info", "Config search path"),
    ("fit --info all", "job: fit"),
    ("fit -i searchpath", "conf"),
    ("fit --info defaults", "encoder/gatv2"),
    ("fit --info defaults-tree", "encoder: gatv2"),
    ("fit --info config", "holdout"),
    ("--info plugins", "BasicLauncher"),
    ("--hydra-help", "--multirun"),
    ("fit hydra.job.name=mine --cfg hydra -p hydra.job.name", "mine"),
    ("--version", ab.__version__),
    ("fit -m model=gp,graph seed=0,1 --cfg job -p model", "--- # model=graph seed=1"),
    ("fit -m encoder=glob(*) --cfg job -p encoder.layer", "sage"),
    ("+experiment=paper --cfg job -p scorer", "hopnorm"),
    ("fit --help", "autobuild fit: "),
    ("-h fit", "autobuild fit: "),
    ("--help", "--shell-completion"),
])  # fmt: skip
def test_flags_print_what_hydra_documents(line: str, wanted: str, capsys) -> None:
    assert main(line.split()) == 0
    out, err = capsys.readouterr()
    if line == "fit --cfg job":
        assert yaml.safe_load(out)["encoder"]["layer"] == "gatv2"
    else:
        assert wanted in out
    assert err == ""
    assert list(Path().iterdir()) == []


def test_a_swept_configuration_is_yaml(capsys) -> None:
    assert main(["fit", "-m", "model=gp,graph", "seed=0,1", "--cfg", "job"]) == 0
    found = [(one["model"], one["seed"]) for one in yaml.safe_load_all(capsys.readouterr().out)]
    assert found == [("gp", 0), ("gp", 1), ("graph", 0), ("graph", 1)]


def test_run_is_what_happens_anyway(composed) -> None:
    assert composed(["--run", "sample", "n=2"])[1][0][1]["n"] == 2
    assert composed(["sample", "-r", "n=2"])[1][0][1]["n"] == 2


def test_verbose_prints_log_lines(capfd) -> None:
    assert main(["sample", "n=2", "out=x", "hydra.verbose=true"]) == 0
    assert "[HYDRA]" in capfd.readouterr().out


@pytest.mark.parametrize(("line", "wanted"), [
    ("autobuild sa", "sample"),
    ("autobuild ", "demo label fit"),
    ("autobuild fit --conf", "--config-dir --config-name --config-path"),
    ("autobuild sample sp", "space="),
    ("autobuild fit encoder=ga", "encoder=gat encoder=gatv2"),
    ("autobuild fit -m n=2,3 encoder.wi", "encoder.width="),
    ("autobuild search --config-dir conf sampler=m", "sampler=mine sampler=motpe"),
])  # fmt: skip
def test_the_shell_completes(own, line: str, wanted: str, monkeypatch, capsys) -> None:
    monkeypatch.setenv("COMP_LINE", line)
    assert main(["-sc", "query=bash"]) == 0
    assert capsys.readouterr().out.startswith(wanted)


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this machine")
def test_bash_takes_the_script_and_completes(shell) -> None:
    asked = 'COMP_LINE="autobuild fit encoder=gc"; COMP_POINT=${#COMP_LINE}; COMP_CWORD=2; hydra_bash_completion'
    done = shell(f"""bash -c 'eval "$(autobuild -sc install=bash)"; {asked}; echo "${{COMPREPLY[@]}}"'""")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "encoder=gcn\n"


# -- configurations of one's own ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "where",
    ["--config-dir conf", "--config-dir=conf", "--config-path conf", "-cd conf", "-cp conf",
     "hydra.searchpath=[conf]", "hydra.searchpath=[file://conf]"],
)  # fmt: skip
def test_a_choice_of_ones_own(own, composed, where: str) -> None:
    if where.endswith("file://conf]"):
        where = f"hydra.searchpath=[file://{own}]"
    code, [(name, config)] = composed(["search", *where.split(), "sampler=mine"])
    assert (code, name) == (0, "search")
    assert config["sampler"] == {"name": "evolution", "mutation": "layer", "population": 20}


def test_own_choices_are_swept_like_others(own, composed) -> None:
    _, started = composed(["search", "--config-dir", "conf", "-m", "sampler=mine,random", "out=s"])
    assert values(started, "sampler.name") == ["evolution", "random"]
    _, started = composed(["search", "--config-dir", "conf", "-m", "sampler=glob(m*)", "out=t"])
    assert values(started, "sampler.name") == ["evolution", "motpe"]


def test_an_experiment_chooses_the_job_and_its_groups(own, composed) -> None:
    code, [(name, config)] = composed(["--config-dir", "conf", "+experiment=first", "seed=4"])
    assert (code, name) == (0, "fit")
    assert (config["encoder"]["layer"], config["model"], config["n"], config["seed"]) == ("gcn", "graph", 50, 4)
    assert (config["target"], config["hardware"]) == ("acc - 7", "mobile_npu")
    assert "limit" not in config
    _, [(name, config)] = composed(
        ["explain", "--config-dir", "conf", "+experiment=first", "hardware=edge_npu", "limit=8"]
    )
    assert (name, config["model"], config["hardware"], config["target"]) == ("explain", "graph", "edge_npu", "acc - 8")


def test_a_whole_configuration_of_ones_own(own, composed) -> None:
    code, [(name, config)] = composed(["-cd", "conf", "-cn", "whole", "seed=3"])
    assert (code, name, config["space"], config["n"], config["seed"]) == (0, "sample", "ofa_mbv3", 3, 3)


def test_a_configuration_may_ask_for_the_sweep(own, composed) -> None:
    code, started = composed(["--config-dir", "conf", "--config-name", "sweeping", "space=ofa_mbv3,mnasnet", "out=s"])
    assert code == 0
    assert values(started, "seed") == [4, 4, 5, 5]
    assert values(started, "space") == ["ofa_mbv3", "mnasnet"] * 2


def test_a_run_is_launched_again_from_its_own_configuration(own, composed) -> None:
    assert main(["sample", "space=ofa_mbv3", "n=4", "seed=7", "design=cover", "cover=1", "out=first"]) == 0
    assert main(["--config-dir", "first", "--config-name", "config", "out=second"]) == 0
    assert Path("first/sample.csv").read_text() == Path("second/sample.csv").read_text()
    _, [(name, config)] = composed(["--config-dir", "first", "--config-name", "config", "n=9"])
    assert (name, config["n"], config["seed"], config["out"]) == ("sample", 9, 7, "first")


def test_groups_and_awkward_texts_survive_the_round_trip(own, composed) -> None:
    from autobuild.jobs.run import Run

    words = ["ranking=hybrid", "ranking.share=0.25", "encoder=gin", "target=\\${x} it's 'a, b'", "n=5", "out=there"]
    _, [(_, config)] = composed(["fit", *words])
    with Run.open("fit", config):
        pass
    _, [(name, again)] = composed(["-cd", "there", "-cn", "config"])
    assert (name, again) == ("fit", config)
    _, [(_, config)] = composed(["search", "--config-dir", "conf", "sampler=mine", "executor=slurm", "out=searched"])
    with Run.open("search", config):
        pass
    assert composed(["-cd", "searched", "-cn", "config"])[1] == [("search", config)]


@pytest.mark.parametrize(("words", "wanted"), [
    ("search --config-dir conf sampler=half", "begin your file with `defaults: [evolution, _self_]`"),
    ("search --config-dir conf sampler=odd", "unknown key 'sampler.speed'"),
    ("search --config-dir conf sampler=mien", "did you mean 'mine'"),
    ("--config-dir conf experiment=first", "use +experiment=first"),
    ("--config-dir conf +experiment=frist", "did you mean 'first'"),
    ("--config-dir conf --config-name wohle", "did you mean 'whole'"),
    ("--config-name whole", "--config-dir FOLDER --config-name whole"),
    ("--config-dir cnof", "there is no such folder"),
    ("sample +limit=3", "a key of your own is taken where another one refers to it: ${limit}"),
])  # fmt: skip
def test_mistakes_in_own_configurations(own, words: str, wanted: str, capsys) -> None:
    assert main(words.split()) == 2
    err = capsys.readouterr().err
    assert wanted in err
    assert err.count("\n") == 1


# -- folders and sweeps ------------------------------------------------------------------------------------------------


def table(folder: str) -> list[dict[str, str]]:
    with Path(folder, "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_grown_sweep_computes_only_what_is_new(capsys) -> None:
    words = ["sample", "-m", "space=ofa_mbv3", "seed=0,1", "out=s"]
    assert main([*words, "n=2,3"]) == 0
    before = {path: path.stat().st_mtime_ns for path in Path("s").glob("*/sample.csv")}
    assert len(before) == 4
    capsys.readouterr()
    # grown, keys in another order, with what changes no result, and with a default said
    assert main(["sample", "-m", "n=2,3,4", "seed=0,1", "space=ofa_mbv3", "out=s", "resume=true", "cover=3"]) == 0
    out = capsys.readouterr().out
    assert out.count("finished already on") == 4
    assert {path: path.stat().st_mtime_ns for path in before} == before
    rows = table("s")
    assert sorted((row["n"], row["seed"]) for row in rows) == [(n, s) for n in "234" for s in "01"]
    assert {row["status"] for row in rows} == {"finished"}


def test_folders_of_jobs_never_meet(composed) -> None:
    long = "x" * 200
    words = ["export", "-m", f"archs='a b','a_b',{long}1,{long}2,'A/B','A_B'", "out=s"]
    _, started = composed(words)
    folders = values(started, "out")
    assert len(set(folders)) == 6
    assert all(len(os.path.basename(folder)) <= 100 for folder in folders)
    assert folders == values(composed(words)[1], "out")


def test_failed_jobs_are_named_and_the_others_finish(capsys) -> None:
    assert main(["sample", "-m", "space=ofa_mbv3,nowhere,mnasnet", "n=2,x", "out=s"]) == 2
    err = capsys.readouterr().err
    assert "error: 4 of 6 jobs failed:" in err
    assert "  space=nowhere n=2: unknown search space 'nowhere'" in err
    assert "  space=mnasnet n=x: n=x: unusable value (accepted: int >=1)" in err
    assert "Traceback" not in err
    rows = table("s")
    assert sorted(row["status"] for row in rows) == ["failed"] * 4 + ["finished"] * 2
    assert all(bool(row["reason"]) == (row["status"] == "failed") for row in rows)
    assert json.loads(Path("s/sweep.json").read_text())["status"] == "running"


def test_a_fault_of_the_program_ends_one_job_only(monkeypatch, capsys) -> None:
    from autobuild import cli

    real = cli._run_job

    def fails_once(name, config):
        if config["seed"] == 1:
            raise ZeroDivisionError("a fault")
        return real(name, config)

    monkeypatch.setattr(cli, "_run_job", fails_once)
    assert main(["sample", "-m", "space=ofa_mbv3", "n=2", "seed=0,1,2", "out=s"]) == 1
    assert "seed=1: ZeroDivisionError: a fault" in capsys.readouterr().err.replace("space=ofa_mbv3 n=2 ", "")
    assert sorted(row["status"] for row in table("s")) == ["failed", "finished", "finished"]
    with pytest.raises(ZeroDivisionError):
        main(["sample", "seed=1"])


def test_an_unfinished_sweep_without_out_goes_on(capsys) -> None:
    words = ["sample", "-m", "space=ofa_mbv3,nowhere", "n=2"]
    assert main(words) == 2
    (folder,) = Path("runs/sample").iterdir()
    assert main(words) == 2
    assert list(Path("runs/sample").iterdir()) == [folder]
    assert "going on with the sweep" in capsys.readouterr().out
    assert main([*words, "resume=false"]) == 2
    assert len(list(Path("runs/sample").iterdir())) == 2


def test_the_table_is_made_again_sorted_and_elsewhere(capsys) -> None:
    assert (
        main(["sample", "-m", "space=ofa_mbv3", "n=4,2,3", "design=cover", "cover=1,2", "out=s"]) == 2
    )  # too few rows
    capsys.readouterr()
    assert main(["table", "run=s", "sort=n", "out=t.csv"]) == 0
    with Path("t.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    numbers = [int(row["n"]) for row in rows]
    assert numbers == sorted(numbers, reverse=True)
    assert main(["table", "run=s", "sort=m"]) == 2
    assert "sort=m" in capsys.readouterr().err
    assert main(["table"]) == 2
    assert main(["table", "run=conf"]) == 2
    assert "no folder in it holds a run" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "folders"), [
    (["out=r/${space}_${seed}"], ["r/ofa_mbv3_0", "r/ofa_mbv3_1"]),
    (["out=r/at/s${seed}/deep"], ["r/at/s0/deep", "r/at/s1/deep"]),
    (["hydra.sweep.dir=d"], ["d/seed=0,space=ofa_mbv3", "d/seed=1,space=ofa_mbv3"]),
    (["hydra.sweep.dir=d", "hydra.sweep.subdir=${hydra.job.num}"], ["d/0", "d/1"]),
    (["out=d", "hydra.sweep.subdir=${hydra.job.num}_${seed}"], ["d/0_0", "d/1_1"]),
    (["out=d", "hydra.sweep.subdir=${hydra:job.num}"], ["d/0", "d/1"]),
    (["out=d", "hydra.sweep.subdir=${hydra.job.override_dirname}"],
     ["d/seed=0,space=ofa_mbv3", "d/seed=1,space=ofa_mbv3"]),
    (["out=d", "hydra.sweep.subdir=${hydra.job.override_dirname}",
      "hydra.job.config.override_dirname.exclude_keys=[space]"], ["d/seed=0", "d/seed=1"]),
    (["out=d", "hydra.job.config.override_dirname.exclude_keys=[space]"], ["d/seed=0", "d/seed=1"]),
])  # fmt: skip
def test_folders_of_a_sweep_are_where_hydra_says(composed, words: list[str], folders: list[str]) -> None:
    code, started = composed(["sample", "-m", "space=ofa_mbv3", "seed=0,1", *words])
    assert (code, values(started, "out")) == (0, folders)


@pytest.mark.parametrize(("words", "wanted"), [
    ("sample out=a hydra.run.dir=b", "name the same thing"),
    ("sample -m seed=1,2 out=a hydra.sweep.dir=b", "name the same thing"),
    ("sample -m seed=1,2 out=a,b", "a sweep has one folder"),
    ("sample hydra.job.chdir=true", "out= says where the results go"),
    ("sample -m hydra/sweeper=optuna seed=1,2", "optuna<3"),
    ("sample --experimental-rerun x.pickle", "--config-dir RUN_FOLDER --config-name config"),
    ("sample ~n", "key 'n' is missing; its default is n=100"),
    ("search ~sampler", "sampler"),
    ("sample n=${nowhere}", "n: Interpolation key 'nowhere' not found"),
    ("sample n=${oc.env:NOWHERE}", "n: KeyError"),
    ("sample -m seed=glob(*)", "seed=glob(*): names no value"),
    ("sample -m seed=interval(1,3)", "seed=interval(1,3): an interval has no single values"),
    ("sample -m hydra.sweeper.params.seed=1", "stands in a configuration of your own"),
    ("sample hydra.searchpath=[nowhere]", "hydra.searchpath: there is no folder nowhere"),
])  # fmt: skip
def test_what_does_not_work_is_refused_by_name(words: str, wanted: str, capsys) -> None:
    assert main(words.split()) == 2
    err = capsys.readouterr().err
    assert wanted in err
    assert "Traceback" not in err
    assert err.count("\n") == 1 or "-m" in words


def test_a_typed_folder_goes_before_that_of_a_configuration(composed, own: Path) -> None:
    text = "defaults: [autobuild, {override job: sample}, _self_]\nspace: ofa_mbv3\n"
    (own / "placed.yaml").write_text(f"{text}hydra: {{run: {{dir: there}}, sweep: {{dir: there}}}}\n")
    words = ["--config-dir", str(own), "--config-name", "placed"]
    assert values(composed([*words, "out=here"])[1], "out") == ["here"]
    assert values(composed([*words, "-m", "seed=1,2", "out=here"])[1], "out")[-2:] == ["here/seed=1", "here/seed=2"]
    assert values(composed([*words, "-m", "seed=1,2"])[1], "out")[-1] == "there/seed=2"


def test_callbacks_are_found_in_the_working_folder(composed, monkeypatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("my_callbacks.py").write_text(
        "from hydra.experimental.callback import Callback\n\n\nclass Note(Callback):\n"
        "    def on_job_end(self, config, **kw):\n        open('noted.txt', 'w').write(str(config.n))\n"
    )
    code, _ = composed(["sample", "n=7", "+hydra.callbacks.note={_target_: my_callbacks.Note}"])
    assert (code, Path("noted.txt").read_text()) == (0, "7")


def test_instantiate_in_a_hydra_program_of_ones_own(small_labels) -> None:
    from hydra.utils import instantiate

    model = instantiate({"_target_": "autobuild.fit", "target": "acc", "model": "linear", "seed": 0}, small_labels)
    assert len(model.predict(small_labels.space.sample(3, seed=0))) == 3


def test_a_python_process_says_the_same(shell) -> None:
    assert "experiments" in shell(f"{sys.executable} -m autobuild --help").stdout
    done = subprocess.run([sys.executable, "-m", "autobuild", "fti"], capture_output=True, text=True, check=False)
    assert (done.returncode, "did you mean 'fit'" in done.stderr) == (2, True)


def test_a_job_word_may_be_an_override() -> None:
    assert parse(["job=fit", "seed=1"]).job == "fit"
    assert parse(["fit", "job=fit"]).overrides == ["job=fit"]


@pytest.mark.parametrize("name", sorted(path.stem for path in resource_dir("conf").glob("experiment/*.yaml")))
def test_experiments_that_ship_compose(name, composed) -> None:
    own = yaml.safe_load((resource_dir("conf") / "experiment" / f"{name}.yaml").read_text())
    code, [(job, config)] = composed([f"+experiment={name}", "out=here"])
    assert code == 0
    assert {"override /job": job} in own["defaults"]
    for key, value in own.items():
        if isinstance(value, dict):
            assert value.items() <= config[key].items()
        elif key != "defaults":
            assert config[key] == value, key
