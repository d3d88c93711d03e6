"""Graph encoders: FE-MLP, message passing, readouts."""

from autobuild.encode.features import FeatureEmbedding
from autobuild.encode.gatv2_layer import GATv2
from autobuild.encode.hops import Encoding, HopEncoder, read_out, register_layer, scale_gradient
from autobuild.settings.encoder import READOUTS, EncoderConfig

__all__ = [
    "READOUTS",
    "EncoderConfig",
    "Encoding",
    "FeatureEmbedding",
    "GATv2",
    "HopEncoder",
    "read_out",
    "register_layer",
    "scale_gradient",
]
