"""Defaults of jobs are those of the functions that they call, but for the differences listed here."""

from __future__ import annotations

import inspect

import pytest

import autobuild as ab
from autobuild.jobs._options import job_names, read_job
from autobuild.labels import sample_design

# Job, prefix of its keys, function -> keys whose defaults differ, and why.
CALLS = {
    ("fit", "", ab.fit): {"encoder": "a config group", "hardware": "null: edge_npu"},
    ("fit", "fit.", ab.FitConfig): {},
    ("build", "build.", ab.build): {},
    ("sample", "", sample_design): {},
    ("fuse", "", ab.fuse): {"model": "the network itself", "shape": "of an input", "hardware": "by name"},
    ("search", "", ab.search): {
        "hardware": "null: edge_npu",
        "n_trials": "a first try",
        "n_jobs": "a command line may use two cores",
        "pruner": "none is written none",
        "retries": "fewer, as a job is resumed",
        "storage": "a file in the run folder",
        "narrow": "keys of its own",
    },
}


@pytest.mark.parametrize(("job", "prefix", "function"), CALLS, ids=[f"{job}-{f.__name__}" for job, _, f in CALLS])
def test_defaults_of_jobs_are_those_of_functions(job: str, prefix: str, function) -> None:
    keys, compared = read_job(job).keys, set()
    for name, parameter in inspect.signature(function).parameters.items():
        key = keys.get(prefix + name)
        if key is None or name in CALLS[job, prefix, function] or parameter.default is parameter.empty:
            continue
        default = getattr(parameter.default, "name", parameter.default)
        assert key.default == default, f"{job}: {key.name}={key.default}, {function.__name__}({name}={default})"
        compared.add(name)
    assert len(compared) >= 3


@pytest.mark.parametrize("job", job_names())
def test_defaults_are_usable_and_every_key_is_explained(job: str) -> None:
    read = read_job(job)
    for key in read.keys.values():
        assert key.check(key.default) == key.default
        assert len(key.option.help) > 5, key.name
        if key.option.required:
            assert key.default is None
    assert set(read.groups) == {name.split(".")[0] for name, key in read.keys.items() if key.members}
