"""Search spaces: units, candidates, architectures, and their canonical text."""

from autobuild.errors import SpaceError
from autobuild.spaces.declare import resolutions, sequence_space, space_from_yaml
from autobuild.spaces.graph import ArchitectureGraph, candidate_graph
from autobuild.spaces.registry import architectures, check_space, load_space, register_space, space_names
from autobuild.spaces.sizes import readable_count
from autobuild.spaces.space import Architecture, Identity, SearchSpace
from autobuild.spaces.stage import Feature, Stage, Value
from autobuild.spaces.unit import Candidate, Unit

__all__ = [
    "Architecture",
    "ArchitectureGraph",
    "Candidate",
    "Feature",
    "Identity",
    "SearchSpace",
    "SpaceError",
    "Stage",
    "Unit",
    "Value",
    "architectures",
    "candidate_graph",
    "check_space",
    "load_space",
    "readable_count",
    "register_space",
    "resolutions",
    "sequence_space",
    "space_from_yaml",
    "space_names",
]
