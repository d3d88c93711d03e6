"""Building from scores: exact k-best assemblies over units, and narrowed search spaces."""

from __future__ import annotations

from autobuild.construct.assemblies import k_best
from autobuild.construct.building import Built, build
from autobuild.construct.narrowing import narrow, narrow_rows, narrowing_note

__all__ = ["Built", "build", "k_best", "narrow", "narrow_rows", "narrowing_note"]
