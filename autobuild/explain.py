"""Moved to :mod:`autobuild.importance`."""

from autobuild._moved import moved

moved(__name__, "autobuild.importance")
