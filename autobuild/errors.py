"""One error type for each kind of mistake; every message says what was given and what is accepted."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AutobuildError(Exception):
    """Base of every error that a user can mend; the command line prints it without a traceback."""


class SpaceError(AutobuildError, ValueError):
    """A search space, unit, candidate or architecture that does not fit its declaration."""


class LabelError(AutobuildError, ValueError):
    """Labelled data that cannot be used: missing columns, unparsable rows, too few rows."""


class ModelError(AutobuildError, ValueError):
    """A saved model that is missing, truncated or belongs to another space."""


class ConfigError(AutobuildError, ValueError):
    """An option, job or key that is unknown or has an unusable value."""


class TargetError(ConfigError):
    """A target or limit that does not parse, names something unknown or ambiguous, or is constant."""


class GraphError(AutobuildError, ValueError):
    """A network or file that cannot be read as an operation graph: unknown shapes, custom operators, damage."""


class QuantisationError(AutobuildError, ValueError):
    """A weight, configuration or file that cannot be quantised or read: bits outside 2-8, NaN, unknown names."""


class CostError(AutobuildError, ValueError):
    """A cost that has no value for what was given; it is never zero instead.

    Attributes:
        reason: Why, as one word of :data:`COST_REASONS` (a plug-in may have words of its own).
    """

    def __init__(self, message: str, reason: str = "unknown") -> None:
        super().__init__(message)
        self.reason = reason


COST_REASONS = {
    "unknown": "the cost has no rule for an operation of the network",
    "infeasible": "the hardware cannot run the network",
    "no_network": "no network, or no input shape, is known for the architecture",
    "no_value": "the cost gave no finite number",
}


class RunError(AutobuildError, RuntimeError):
    """A run folder that cannot be written, or that another process is using."""


class EvaluationError(AutobuildError, RuntimeError):
    """An architecture that could not be evaluated.

    Args:
        retry: Whether another try may well succeed: what evaluated it was killed from outside.
    """

    def __init__(self, *args: object, retry: bool = False) -> None:
        super().__init__(*args)
        self.retry = retry


class LabelWarning(UserWarning):
    """Labels that look like mistakes: they are used unchanged, and the warning names their rows."""


class FitWarning(UserWarning):
    """The predictions and scores of a model are not reliable, such as a ranking no better than chance."""


class Pruned(Exception):
    """Ends an evaluation early; raised by the ``report`` that it calls, or by the evaluator itself."""


def nearest(given: object, accepted: Iterable[object], *, limit: int = 20) -> str:
    """Say which names are accepted, the nearest ones first: ``did you mean 'acc'? (accepted: ...)``.

    Args:
        given: What the user wrote.
        accepted: Every name that would have been taken.
        limit: How many accepted names are listed at most.
    """
    names = [str(name) for name in accepted]
    close = difflib.get_close_matches(str(given), names, n=3, cutoff=0.5)
    listed = ", ".join(names[:limit]) + (f", ... ({len(names)} in all)" if len(names) > limit else "")
    # What is quoted already stands as it is to be typed.
    guess = f"did you mean {' or '.join(n if n.endswith('`') else repr(n) for n in close)}? " if close else ""
    known = f"accepted: {listed or 'none'}"
    return f"{guess}({known})" if guess else known
