"""Costs: numbers computed from an architecture without training it."""

from autobuild.cost.activation_peak_bytes_cost import ActivationPeak
from autobuild.cost.count import count_macs, count_params
from autobuild.cost.hardware import Hardware, hardware_names, read_hardware
from autobuild.cost.layer_tables import CostTables, Counter, costs_of, known_costs
from autobuild.cost.registry import (
    ArchitectureCost,
    Cost,
    TabledCost,
    cost_names,
    make_cost,
    metric_units,
    register_cost,
)
from autobuild.cost.roofline_cost import Roofline
from autobuild.cost.unit_tables import additive_costs, unit_tables

__all__ = [
    "ActivationPeak",
    "ArchitectureCost",
    "Cost",
    "CostTables",
    "Counter",
    "Hardware",
    "Roofline",
    "TabledCost",
    "additive_costs",
    "cost_names",
    "costs_of",
    "count_macs",
    "count_params",
    "hardware_names",
    "known_costs",
    "make_cost",
    "metric_units",
    "read_hardware",
    "register_cost",
    "unit_tables",
]
