"""Where the model looks and what it sees there: view pairs on a grid, and their pixels, normalised.

Knows sources and geometry; knows neither torch nor masks nor projects. Read `policy.py` first (which views),
then `crops.py` (their pixels).
"""

from napari_relay.views.policy import (
    first_view,
    follow_view,
    global_view,
    holds_click,
    step_side,
    touches_border,
    view_pair,
    whole_view,
)
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
    "Crops",
    "Prediction",
    "View",
    "ViewClick",
    "ViewPair",
    "first_view",
    "follow_view",
    "global_view",
    "holds_click",
    "step_side",
    "touches_border",
    "view_pair",
    "whole_view",
]
