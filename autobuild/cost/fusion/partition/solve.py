"""Moved to :mod:`autobuild.cost.fusion.partition.solver`; import ``solve`` from :mod:`autobuild.cost.fusion`."""

from autobuild._moved import moved

moved(__name__, "autobuild.cost.fusion.partition.solver")
