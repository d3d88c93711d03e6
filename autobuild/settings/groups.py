"""The config groups ``encoder``, ``ranking``, ``sampler`` and ``executor``: their members, and the options of each.

The members are the plug-ins of a kind (:mod:`autobuild.registry`). Help and options of those that ship are declared in
this package, so that listing them imports none; options of the others are the parameters of their signatures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from autobuild import registry
from autobuild.registry import Registry
from autobuild.settings import executors, ranking, samplers
from autobuild.settings.encoder import ABOUT_LAYERS, EncoderConfig
from autobuild.settings.option import Key, Option, key_of_parameter, keys_of


@dataclass(frozen=True)
class Group:
    """A config group: one member is chosen by name, and has options of its own.

    Attributes:
        kind: The key that says which member it is: ``sampler.name``.
        help: What is chosen.
        registry: The members.
        declared: Help and options of the members that ship by name.
        common: Dataclass of the options that all other members have.
    """

    kind: str
    help: str
    registry: Registry
    declared: Mapping[str, tuple[str, type | None]]
    common: type | None = None

    @property
    def name(self) -> str:
        """Such as ``sampler``."""
        return self.kind.partition(".")[0]

    @property
    def members(self) -> list[str]:
        """Names of the members."""
        return self.registry.choices

    def about(self, member: str) -> str:
        """One line of help on a member."""
        return self.declared[member][0] if member in self.declared else self.registry.about(member)

    def keys(self, member: str) -> Iterator[Key]:
        """The keys of one member; the first says which it is. A member that is not declared is imported."""
        yield Key(self.kind, "choice", False, member, Option(self.help, choices=self.registry))
        options = self.declared[member][1] if member in self.declared else self.common
        for key in keys_of(options, f"{self.name}.") if options is not None else ():
            if key.name != self.kind:
                yield key
        if member not in self.declared:
            for parameter in self.registry.options(member):
                yield key_of_parameter(parameter, f"{self.name}.", f"option of {member}")

    def all_keys(self, first: str) -> dict[str, Key]:
        """Every key of a declared member by name, with the members that have it; defaults are those of ``first``."""
        found: dict[str, Key] = {}
        for member in (first, *(name for name in self.declared if name != first)):
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
    layers = {name: (about, EncoderConfig) for name, about in ABOUT_LAYERS.items()}
    of_loss = "ranking loss on the norm of the graph embedding at every hop"
    every = (
        Group("encoder.layer", "message-passing layer", registry.LAYERS, layers, EncoderConfig),
        Group("ranking.loss", of_loss, registry.LOSSES, ranking.SHIPPED, ranking.Ranking),
        Group("sampler.name", "what proposes networks", registry.SAMPLERS, samplers.SHIPPED),
        Group("executor.kind", "where evaluations run", registry.EXECUTORS, executors.SHIPPED),
    )
    return {one.name: one for one in every}
