"""What users write over metrics and costs: targets and limits, parsed and never run, and what their names mean."""

from __future__ import annotations

from autobuild.expressions.limits import Limit, parse_where, split_limits
from autobuild.expressions.names import Names
from autobuild.expressions.parse import TargetExpression

__all__ = ["Limit", "Names", "TargetExpression", "parse_where", "split_limits"]
