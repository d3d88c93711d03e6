"""The config groups ``encoder``, ``ranking``, ``sampler`` and ``executor``: their members, and the options of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from autobuild.settings.encoder import LAYERS, EncoderConfig
from autobuild.settings.executors import EXECUTORS
from autobuild.settings.option import Key, Option, keys_of
from autobuild.settings.ranking import LOSSES
from autobuild.settings.samplers import SAMPLERS


@dataclass(frozen=True)
class Member:
    """One choice of a group.

    Attributes:
        about: One line of help.
        options: Dataclass of its options; None where it has none.
    """

    about: str
    options: type | None = None


@dataclass(frozen=True)
class Group:
    """A config group: one member is chosen by name, and has options of its own.

    Attributes:
        name: ``sampler``.
        kind: The key that says which member it is: ``sampler.name``.
        help: What is chosen.
        members: By name.
    """

    name: str
    kind: str
    help: str
    members: Mapping[str, Member]

    def keys(self, member: str) -> Iterator[Key]:
        """The keys of one member; the first says which it is."""
        which = Option(self.help, choices=tuple(self.members))
        yield Key(f"{self.name}.{self.kind}", "choice", False, member, which)
        options = self.members[member].options
        for key in keys_of(options, f"{self.name}.") if options is not None else ():
            if key.name != f"{self.name}.{self.kind}":
                yield key

    def all_keys(self, first: str) -> dict[str, Key]:
        """Every key of any member by name, each with the members that have it; defaults are those of ``first``."""
        found: dict[str, Key] = {}
        for member in (first, *(name for name in self.members if name != first)):
            for key in self.keys(member):
                known = found.get(key.name, key)
                found[key.name] = replace(known, members=(*known.members, member))
        return found

    def values(self, member: str) -> dict[str, Any]:
        """The settings of one member: key -> default."""
        return {key.name.partition(".")[2]: key.default for key in self.keys(member)}


@cache
def groups() -> dict[str, Group]:
    """All groups by name."""
    declared = (
        Group("encoder", "layer", "message-passing layer",
              {name: Member(about, EncoderConfig) for name, about in LAYERS.items()}),
        Group("ranking", "loss", "ranking loss on the norm of the graph embedding at every hop",
              {name: Member(*given) for name, given in LOSSES.items()}),
        Group("sampler", "name", "what proposes networks", {name: Member(*given) for name, given in SAMPLERS.items()}),
        Group("executor", "kind", "where evaluations run", {name: Member(*given) for name, given in EXECUTORS.items()}),
    )  # fmt: skip
    return {one.name: one for one in declared}
