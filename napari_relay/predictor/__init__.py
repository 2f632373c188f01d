"""Encode a view pair (cached) and predict masks from clicks: device, precision, threads and cache live here.

It must not know images on disk, projects or windows; numpy goes in and comes out. Read `predictor.py` first.
"""

from napari_relay.predictor.explain import explain
from napari_relay.predictor.predictor import Encoded, Predictor, load_predictor

__all__ = ["Encoded", "Predictor", "explain", "load_predictor"]
