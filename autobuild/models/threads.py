"""Limit the number of threads that torch and numpy use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Let torch use ``count`` threads inside the block; None leaves them as they are.

    The default is one thread, because batches of architecture graphs are small: on an idle machine with two cores, a
    second thread saves about a tenth of the time (``benchmarks.core`` prints it). If other processes run, threads wait
    for each other, and a fit may take twice as long.
    """
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let the linear algebra of numpy and scipy use one thread inside the block.

    The matrices here have about a thousand rows, for which a second thread saves nothing: the eigenvalues of 1,200 rows
    take 0.2 s with one thread and 0.4 s with two, on two idle cores. If other processes run, busy-waiting threads make
    it twenty times as long.
    """
    with threadpool_limits(1, user_api="blas"):
        yield
