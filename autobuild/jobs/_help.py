"""The texts of ``autobuild --help`` and ``autobuild <job> --help``, made from the declared keys."""

from __future__ import annotations

import shutil
import textwrap

from autobuild.jobs._options import Job, job_names, read_job
from autobuild.settings.groups import groups
from autobuild.settings.option import TEXTS, Key

_INTRO = """\
autobuild fits a model on labelled architectures, explains which choices matter, and builds the best networks of a
search space.

Usage: autobuild [JOB] [KEY=VALUE ...]        (without a job: demo)
       autobuild JOB --help                   keys, defaults, examples and files of one job
       autobuild JOB -m KEY=A,B,C             one run for each value (a sweep), and a table of all

Jobs (start with fit, explain and build; each includes the steps of the one before):"""

_OPTIONS = {
    "--help, -h": "this text, or the help of a job",
    "--version": "the version of autobuild",
    "--multirun, -m": "a sweep: KEY=A,B  KEY=range(1,5)  GROUP=glob(*)",
    "--cfg, -c job|hydra|all": "print the settings and stop; with -m those of every job",
    "--package, -p KEY": "with --cfg: only this part",
    "--resolve": "with --cfg: with ${...} filled in",
    "--config-dir, -cd DIR": "a folder of your own configurations: DIR/sampler/mine.yaml, DIR/experiment/first.yaml",
    "--config-name, -cn NAME": "NAME.yaml of that folder; --config-dir RUN --config-name config repeats a run",
    "--info, -i [WHAT]": "what Hydra has found: all, config, defaults, defaults-tree, plugins, searchpath",
    "--shell-completion, -sc": 'eval "$(autobuild -sc install=bash)" (or zsh, fish)',
    "--hydra-help": "Hydra's own help",
    "+KEY=V, ++KEY=V, ~KEY": "add, set or add, remove a key, as in Hydra; e.g. +experiment=first",
}


def overview() -> str:
    """The text of ``autobuild --help``."""
    width = _width()
    lines = [_INTRO]
    lines += [_entry(name, read_job(name).summary, 12, width) for name in job_names()]
    lines.append("\nExamples:")
    lines += [f"  {line}" for name in ("demo", "build") for line in read_job(name).examples[:2]]
    lines.append("\nOptions, those of Hydra among them (https://hydra.cc; docs/experiments.md):")
    lines += [_entry(option, about, 30, width) for option, about in _OPTIONS.items()]
    return "\n".join(lines)


def describe(job: Job) -> str:
    """The text of ``autobuild <job> --help``."""
    width = _width()
    lines = [f"autobuild {job.name}: {job.summary}"]
    if job.notes:
        lines += ["", *textwrap.wrap(" ".join(job.notes), width)]
    lines += ["", f"Usage: autobuild {job.name} [KEY=VALUE ...]", "", "Keys and their defaults:"]
    plain = sorted((key for key in job.keys.values() if not key.members), key=_place)
    column = min(30, max(len(f"{key.name}={key.written}") for key in plain) + 2)
    lines += [_entry(f"{key.name}={key.written}", _about(key), column, width) for key in plain]
    for group, default in job.groups.items():
        lines += ["", f"{group}={default}  {groups()[group].help}; one of:"]
        lines += [_entry(f"  {name}", groups()[group].about(name), column, width) for name in groups()[group].members]
        lines.append(f"and single keys of {group}:")
        for key in (key for key in job.keys.values() if key.name.startswith(group + ".")):
            only = "" if default in key.members else f"only with {group}={' or '.join(key.members)}: "
            lines.append(_entry(f"{key.name}={key.written}", only + _about(key), column, width))
    if names := ", ".join(key.name for key in job.keys.values() if key.kind in ("text", "texts")):
        lines += ["", *textwrap.wrap(f"Taken as typed: {names}. Put single quotes around them for your shell.", width)]
    lines += ["", "Examples:", *(f"  {line}" for line in job.examples)]
    lines += ["", "Writes:", *(_entry(*_split(line), column, width) for line in job.writes)]
    return "\n".join(lines)


def _place(key: Key) -> int:
    """What is needed and what is asked come first, where results go comes last; others stay in order."""
    if key.option.required or key.name in ("space", "labels", "target", "n"):
        return 0
    return 2 if key.name in ("out", "resume", "seed", "threads", "plots") else 1


def _about(key: Key) -> str:
    about = f"{key.option.help} (required)" if key.option.required else key.option.help
    return about if key.kind in (*TEXTS, "bool") else f"{about} [{key.accepted}]"


def _split(line: str) -> tuple[str, str]:
    name, _, about = line.partition("  ")
    return name, about.strip()


def _entry(left: str, right: str, column: int, width: int) -> str:
    body = textwrap.wrap(right, max(30, width - column - 2)) or [""]
    first = f"  {left:<{column}}{body[0]}" if len(left) < column else f"  {left}\n  {'':<{column}}{body[0]}"
    return "\n".join([first.rstrip(), *(f"  {'':<{column}}{line}" for line in body[1:])])


def _width() -> int:
    return max(70, min(120, shutil.get_terminal_size((110, 24)).columns))
