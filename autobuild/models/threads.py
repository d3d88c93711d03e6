"""How many threads torch and numpy take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Let torch use ``count`` threads inside the block; None leaves them as they are.

    A batch of architecture graphs is small: on an idle machine with two cores a second thread saves about a tenth of
    the time (``benchmarks.core`` prints it), and where anything else runs the threads wait for each other and a fit may
    take twice as long. So one is the default.
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

    Decompositions here are of about a thousand rows: alone on two cores a second thread saves nothing (0.2 s for the
    eigenvalues of 1,200 rows with one, 0.4 s with two), and where other processes run, threads that spin until the
    others arrive make it twenty times as long.
    """
    with threadpool_limits(1, user_api="blas"):
        yield
