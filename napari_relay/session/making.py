"""From a prediction to the next step: rim, components, pasting, the view that follows. Pure functions."""

from __future__ import annotations

from napari_relay.geometry import Click
from napari_relay.session.fields import Field
from napari_relay.session.paste import blended, keep_components, paste
from napari_relay.session.proposal import Proposal
from napari_relay.session.region import Region
from napari_relay.session.steps import Alternatives, Step, planned_pair
from napari_relay.views import Prediction, ViewPair
from napari_relay.views.policy import Shape


def first_step(shape: Shape, clicks: tuple[Click, ...], pair: ViewPair, found: Alternatives, index: int = 0) -> Step:
    """The step of an object's first prediction; alternative `index` is shown."""
    field = blended(shape, pair.local, found.logits[index], None, Region.nothing())
    field, fine = keep_components(shape, field, clicks, None)
    region = paste(shape, fine, Region.nothing())
    proposal = _proposal(region, found.scores[index], index, len(found.scores), pair, field)
    return Step(clicks, proposal, planned_pair(shape, proposal, clicks), found)


def later_step(shape: Shape, clicks: tuple[Click, ...], pair: ViewPair, found: Prediction, base: Step) -> Step:
    """The step that follows `base`."""
    field = blended(shape, pair.local, found.logits[0], base.proposal.field, base.region)
    field, fine = keep_components(shape, field, clicks, base.region)
    region = paste(shape, fine, base.region)
    proposal = _proposal(region, found.scores[0], 0, 1, pair, field)
    return Step(clicks, proposal, planned_pair(shape, proposal, clicks))


def _proposal(region: Region, score: float, index: int, count: int, pair: ViewPair, field: Field) -> Proposal:
    region.mask.setflags(write=False)
    return Proposal(region.box, region.mask, float(score), index, count, pair, field, native=pair.local.scale <= 1)
