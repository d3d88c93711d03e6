"""A process with a linear kernel: Bayesian ridge regression over descriptions."""

from __future__ import annotations

from autobuild.models.gp_family import ProcessMember
from autobuild.registry import FAMILIES


@FAMILIES.register("linear")
class LinearMember(ProcessMember):
    """A process with a linear kernel: Bayesian ridge regression over descriptions."""

    parts = ("linear",)
