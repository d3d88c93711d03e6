"""Executors: where evaluations run. Evaluations go in one by one, events come out; see :class:`Executor`."""

from autobuild.evaluate.executors.events import Event, Failed, Finished, Reported, Stopped
from autobuild.evaluate.executors.executor import Executor
from autobuild.evaluate.executors.make import make_executor, register_executor
from autobuild.evaluate.executors.queued import QueuedExecutor
from autobuild.registry import EXECUTORS

__all__ = [
    "EXECUTORS",
    "Event",
    "Executor",
    "Failed",
    "Finished",
    "QueuedExecutor",
    "Reported",
    "Stopped",
    "make_executor",
    "register_executor",
]
