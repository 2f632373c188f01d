"""Which picture and which object come next: sets balanced by a table, objects by their size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from relay_training.index import Index


@dataclass(frozen=True, slots=True)
class SetRule:
    """What is known of a set.

    weight : its share of the views.
    domain : "photo", "street", or another word; decides about turns and colours.
    merge : what may be one object, see `targets.MERGES`.
    min_area_px : smaller objects are not looked for.
    """

    weight: float = 1.0
    domain: str = "photo"
    merge: str = "none"
    min_area_px: int = 64


@dataclass(frozen=True, slots=True)
class ObjectLaw:
    """P(object) in its set: proportional to the area, clipped to `least_px` .. `most_px`, to the power
    `power`; a picture's objects share `crowd` of their sum's power, so that crowded pictures do not take
    the whole set."""

    power: float = -0.25
    least_px: int = 256
    most_px: int = 40_000
    crowd: float = 0.5


class ObjectSampler:
    """Draws pictures and objects of an index with the weights of its sets.

    Parameters
    ----------
    rules : set name -> rule; a set that is not named has the rule `SetRule()`.
    """

    def __init__(self, index: Index, rules: Mapping[str, SetRule] | None = None, law: ObjectLaw | None = None) -> None:
        self.index = index
        self.rules = [dict(rules or {}).get(str(name), SetRule()) for name in index.sets]
        self._objects = np.cumsum(self._object_weights(law or ObjectLaw()))
        self._pictures = np.cumsum(self._picture_weights())

    def rule(self, picture: int) -> SetRule:
        return self.rules[int(self.index.set_of[picture])]

    def draw_object(self, u: float) -> int:
        """Row of an object, by a uniform number."""
        return _draw(self._objects, u)

    def draw_picture(self, u: float) -> int:
        """Row of a picture, by a uniform number."""
        return _draw(self._pictures, u)

    @property
    def object_probabilities(self) -> npt.NDArray[np.float64]:
        """P of every object, [O]."""
        steps: npt.NDArray[np.float64] = np.diff(self._objects, prepend=0.0) / self._objects[-1]
        return steps

    def _object_weights(self, law: ObjectLaw) -> npt.NDArray[np.float64]:
        index = self.index
        group = index.set_of[index.picture]
        least = np.array([rule.min_area_px for rule in self.rules])
        weights = np.clip(index.area, law.least_px, law.most_px).astype(np.float64) ** law.power
        weights[index.area < least[group]] = 0
        crowd = np.bincount(index.picture, weights, minlength=len(index.images))
        weights /= np.maximum(crowd[index.picture], 1e-12) ** law.crowd
        return self._balanced(weights, group)

    def _picture_weights(self) -> npt.NDArray[np.float64]:
        has_object = np.bincount(self.index.picture, minlength=len(self.index.images)) > 0
        return self._balanced(has_object.astype(np.float64), self.index.set_of)

    def _balanced(self, weights: npt.NDArray[np.float64], group: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
        """Weights whose sum over each set is the set's weight."""
        total = np.bincount(group, weights, minlength=len(self.rules))
        share = np.array([rule.weight for rule in self.rules]) / np.where(total > 0, total, 1)
        return weights * share[group]


def _draw(limits: npt.NDArray[np.float64], u: float) -> int:
    """Row of the cumulative weights `limits` in which u of the whole lies."""
    return min(int(np.searchsorted(limits, u * limits[-1], side="right")), len(limits) - 1)
