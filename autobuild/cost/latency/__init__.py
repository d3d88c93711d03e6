"""Latency: measured, looked up by kernel in a table, or predicted from measurements on a device."""

from autobuild.cost.latency.fusion_rules import Evidence, find_rules, rules_frame, rules_of
from autobuild.cost.latency.graph_to_onnx import onnx_of
from autobuild.cost.latency.latency_cost import MeasuredLatency
from autobuild.cost.latency.latency_lookup_cost import LookupLatency, prepare_lookup
from autobuild.cost.latency.latency_table import LatencyTable
from autobuild.cost.latency.lookup import Calibration, Lookup, calibrate
from autobuild.cost.latency.machine import describe_machine
from autobuild.cost.latency.measurement import Measurement, Meter
from autobuild.cost.latency.measurement_design import KnownOperators, PredictedLatency, choose_networks
from autobuild.cost.latency.onnx_fragments import Fragment, Operators
from autobuild.cost.latency.runtimes import to_onnx
from autobuild.cost.latency.timing import Timing, time_call

__all__ = [
    "Calibration",
    "Evidence",
    "Fragment",
    "KnownOperators",
    "LatencyTable",
    "Lookup",
    "LookupLatency",
    "MeasuredLatency",
    "Measurement",
    "Meter",
    "Operators",
    "PredictedLatency",
    "Timing",
    "calibrate",
    "choose_networks",
    "describe_machine",
    "find_rules",
    "onnx_of",
    "prepare_lookup",
    "rules_frame",
    "rules_of",
    "time_call",
    "to_onnx",
]
