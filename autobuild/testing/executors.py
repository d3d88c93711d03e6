"""Every property that an executor must have, as a pytest suite."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from autobuild.evaluate import Evaluator, Report
from autobuild.evaluate.executors import Event, Executor, Failed, Finished, Reported, Stopped, make_executor
from autobuild.spaces import Architecture, SearchSpace, load_space

Make = Callable[[SearchSpace, Evaluator], Executor]
FAULT = 7  # the seed at which :class:`Length` raises


@dataclass(frozen=True)
class Length:
    """An evaluator of simple numbers: steps that are reported, an error at one seed."""

    steps_: int = 3
    step_s: float = 0.0

    def __call__(self, space: SearchSpace, arch: Architecture | str, seed: int) -> dict[str, float]:
        """Metrics of a text and a seed."""
        return self.steps(space, arch, seed, lambda step, metrics: None)

    def steps(self, space: SearchSpace, arch: Architecture | str, seed: int, report: Report) -> dict[str, float]:
        """The same, with reports."""
        if seed == FAULT:
            raise ValueError("the weights are lost")
        for step in range(1, self.steps_ + 1):
            time.sleep(self.step_s)
            report(step, {"acc": float(step)})
        return {"acc": len(str(arch)) + seed / 10}


class ExecutorConformance:
    """Subclass it in a test module and give a fixture ``make``, a function of a space and an evaluator::

    class TestMyExecutor(ExecutorConformance):
        @pytest.fixture
        def make(self):
            return lambda space, evaluator: MyExecutor(space, evaluator, workers=2)
    """

    patience_s = 300.0

    @pytest.fixture
    def space(self) -> SearchSpace:
        """Whose architectures are evaluated."""
        return load_space("tiny_mbconv")

    @pytest.fixture
    def archs(self, space: SearchSpace) -> list[str]:
        """Architectures of different lengths."""
        return [str(arch) for arch in space.sample(6, seed=1, design="depth")]

    def test_results_equal_those_of_this_process(self, make: Make, space: SearchSpace, archs: list[str]) -> None:
        """Every task ends once, with the metrics that ``inline`` gives."""
        found = []
        for executor in (make(space, Length()), make_executor("inline", space, Length())):
            with executor:
                assert isinstance(executor, Executor)
                assert executor.capacity >= 1
                for number, arch in enumerate(archs):
                    executor.submit(number + 10, arch, number)
                ended = [event for event in self._drain(executor) if not isinstance(event, Reported)]
                found.append(sorted(ended, key=lambda event: event.task_id))
        assert found[0] == found[1]
        assert found[0] == [Finished(10 + i, {"acc": len(arch) + i / 10}) for i, arch in enumerate(archs)]

    def test_reports_come_in_order_before_the_end(self, make: Make, space: SearchSpace, archs: list[str]) -> None:
        """Reported steps, then the result."""
        with make(space, Length()) as executor:
            executor.submit(5, archs[0], 2)
            events = self._drain(executor)
        steps = [Reported(5, step, {"acc": float(step)}) for step in (1, 2, 3)]
        assert events == [*steps, Finished(5, {"acc": len(archs[0]) + 0.2})]

    def test_an_exception_fails_its_task_alone(self, make: Make, space: SearchSpace, archs: list[str]) -> None:
        """The reason names the error; the other tasks finish."""
        with make(space, Length()) as executor:
            for seed in (6, FAULT, 8):
                executor.submit(seed, archs[0], seed)
            ended = {event.task_id: event for event in self._drain(executor) if not isinstance(event, Reported)}
        assert isinstance(ended[6], Finished)
        assert isinstance(ended[8], Finished)
        failed = ended[FAULT]
        assert isinstance(failed, Failed)
        assert "ValueError: the weights are lost" in failed.reason

    def test_a_pruned_task_stops_and_a_cancelled_one_is_silent(
        self, make: Make, space: SearchSpace, archs: list[str]
    ) -> None:
        """Pruning ends in ``Stopped``; nothing comes of a cancelled task, begun or not."""
        with make(space, Length(steps_=2000, step_s=0.01)) as executor:
            for number in range(3):
                executor.submit(number, archs[number], 0)
            first = self._next(executor)
            executor.prune(first.task_id)
            for number in {0, 1, 2} - {first.task_id}:
                executor.cancel(number)
            executor.cancel(99)
            events = self._drain(executor)
            assert [event for event in events if not isinstance(event, Reported)] == [Stopped(first.task_id)]
            executor.submit(3, archs[0], FAULT)
            assert isinstance(self._drain(executor)[-1], Failed)  # it still works

    def test_waiting_for_nothing_and_closing_twice(self, make: Make, space: SearchSpace, archs: list[str]) -> None:
        """Without tasks ``wait`` returns at once; ``close`` ends what runs, and may be called again."""
        executor = make(space, Length(steps_=2000, step_s=0.01))
        started = time.monotonic()
        assert executor.wait(30.0) == []
        assert time.monotonic() - started < 10
        executor.submit(0, archs[0], 0)
        self._next(executor)
        started = time.monotonic()
        executor.close()
        executor.close()
        assert time.monotonic() - started < 15

    def _next(self, executor: Executor) -> Event:
        events = executor.wait(self.patience_s)
        assert events, f"nothing happened within {self.patience_s} seconds"
        return events[0]

    def _drain(self, executor: Executor) -> list[Event]:
        events, end = [], time.monotonic() + self.patience_s
        while new := executor.wait(max(0.0, end - time.monotonic())):
            events += new
        assert time.monotonic() < end, f"waited {self.patience_s} seconds; events so far: {events}"
        return events
