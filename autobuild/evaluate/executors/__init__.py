"""Executors: where evaluations run. Evaluations go in one by one, events come out; see :class:`Executor`."""

from autobuild.evaluate.executors.events import Event, Failed, Finished, Reported, Stopped
from autobuild.evaluate.executors.make import EXECUTORS, make_executor
from autobuild.evaluate.executors.protocol import Executor

__all__ = ["EXECUTORS", "Event", "Executor", "Failed", "Finished", "Reported", "Stopped", "make_executor"]
