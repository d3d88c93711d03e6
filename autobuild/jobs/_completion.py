"""Shell completion: Hydra completes keys and choices, this file adds jobs and flags."""

from __future__ import annotations

import os
from typing import Any

from autobuild.errors import AutobuildError, ConfigError
from autobuild.jobs._options import job_names
from autobuild.jobs._overrides import FLAGS, Command, parse

_ACTIONS = ("install", "uninstall", "query")


def typed_so_far(command: Command) -> tuple[Command, str]:
    """The command line to complete, and its last word, which is incomplete.

    Args:
        command: ``autobuild --shell-completion query=SHELL``; takes over ``--config-dir`` and ``--config-name``.
    """
    line = os.environ.get("COMP_LINE", "")
    *words, last = [*line.split(), ""] if line.endswith(" ") else line.split() or [""]
    try:
        typed = parse(words[1:])
    except AutobuildError:  # the line cannot be parsed
        typed = Command()
    for flag in ("--config-dir", "--config-name"):
        if flag in typed.flags:
            command.flags[flag] = typed.flags[flag]
    return typed, last


def complete(app: Any, command: Command) -> None:
    """Print the completion script of a shell (``install=bash``), or possible next words (``query=bash``).

    Raises:
        ConfigError: Not one action, or a shell that Hydra does not know.
    """
    actions = [word for word in command.words if word.partition("=")[0] in _ACTIONS]
    if len(actions) != 1:
        raise ConfigError("--shell-completion goes with install=bash, install=zsh or install=fish, or uninstall=...")
    if actions[0].startswith("query="):
        typed, last = typed_so_far(command)
        known = [*FLAGS] if last.startswith("-") else job_names() if typed.job is None and not typed.words else []
        if matches := [word for word in known if word.startswith(last)]:
            print(" ".join(matches))
            return
        sweeps = ["-m"] if typed.sweeps else []
        job = [] if typed.job is None else [f"job={typed.job}"]
        os.environ["COMP_LINE"] = " ".join(["autobuild", *sweeps, *job, *typed.words, last])
    try:
        app.shell_completion(config_name=command.config_name, overrides=actions)
    except ValueError as error:
        raise ConfigError(" ".join(str(error).split())) from error
