"""Clicks on one object become a proposal, and a proposal becomes an object or is dropped.

Knows views and sources; knows neither torch nor files nor windows: what makes masks and what keeps them is handed
in (`protocols.py`). Read `session.py` first, then `paste.py`.
"""

from napari_relay.session.proposal import Proposal
from napari_relay.session.protocols import Keeps, Predicts
from napari_relay.session.refine import RefineProgress
from napari_relay.session.session import ClickSession

__all__ = ["ClickSession", "Keeps", "Predicts", "Proposal", "RefineProgress"]
