"""The rest of the image: proposals for every object, for all that is like an example, and a class for every pixel.

It must not know torch, windows or the command line: it asks a `Sees`, and writes into a project that it is handed.
Read `plan.py` first, then `work.py` (one task) and `job.py` (all of them).
"""

from napari_relay.fullimage.job import Proposed, Step
from napari_relay.fullimage.plan import Grid, Place, checked_region
from napari_relay.fullimage.ranking import Precision, Ranked
from napari_relay.fullimage.request import ClassRequest, Request
from napari_relay.fullimage.sees import Masks, Sees
from napari_relay.fullimage.similar import Examples

__all__ = [
    "ClassRequest",
    "Examples",
    "Grid",
    "Masks",
    "Place",
    "Precision",
    "Proposed",
    "Ranked",
    "Request",
    "Sees",
    "Step",
    "checked_region",
]
