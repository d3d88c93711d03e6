"""Moved to :mod:`autobuild.models`."""

from autobuild._moved import moved

moved(__name__, "autobuild.models")
