"""Moved to :mod:`autobuild.models.transfer`."""

from autobuild._moved import moved

moved(__name__, "autobuild.models.transfer")
