"""Where the model looks and what it sees there: view pairs on a grid, and their pixels, normalised.

Knows sources and geometry; knows neither torch nor masks nor projects. Read `policy.py` first (which views),
then `crops.py` (their pixels).
"""

from napari_relay.views.crops import crop_key, global_key, read_crops, read_view
from napari_relay.views.mix import ChannelMix, channel_mix, default_mix
from napari_relay.views.policy import (
    first_view,
    follow_view,
    global_view,
    holds_click,
    step_side,
    touches_border,
    view_pair,
    whole_view,
    widened_view,
)
from napari_relay.views.stretch import Stretch, measure_stretch
from napari_relay.views.values import (
    LOGIT_SIDE,
    VIEW_SIDE,
    Crops,
    Prediction,
    View,
    ViewClick,
    ViewPair,
)

__all__ = [
    "LOGIT_SIDE",
    "VIEW_SIDE",
    "ChannelMix",
    "Crops",
    "Prediction",
    "Stretch",
    "View",
    "ViewClick",
    "ViewPair",
    "channel_mix",
    "crop_key",
    "default_mix",
    "first_view",
    "follow_view",
    "global_key",
    "global_view",
    "holds_click",
    "measure_stretch",
    "read_crops",
    "read_view",
    "step_side",
    "touches_border",
    "view_pair",
    "whole_view",
    "widened_view",
]
