"""Moved to :mod:`autobuild.studies.searching`."""

from autobuild._moved import moved

moved(__name__, "autobuild.studies.searching")
