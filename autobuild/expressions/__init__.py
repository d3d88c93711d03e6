"""What users write over metrics and costs: targets and limits, parsed and never run, and what their names mean."""

from __future__ import annotations

from autobuild.expressions.limits import Limit, parse_where, split_limits
from autobuild.expressions.parse import TargetExpression

__all__ = ["Limit", "TargetExpression", "parse_where", "split_limits"]
