"""What a training run draws from, as a TOML file:

[sets.coco_inst]            one table a set: weight, domain, merge, min_area_px (`SetRule`); the sets
that are weight = 6.0                named are the ones that are used
[views]                     fields of `ViewLaw`
[look]                      fields of `LookLaw`
[objects]                   fields of `ObjectLaw`
[targets]                   fields of `TargetLaw`
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from napari_relay.errors import UsageError
from relay_training.augment import LookLaw
from relay_training.data import ViewLaw, ViewSampler
from relay_training.index import Index
from relay_training.sampler import ObjectLaw, SetRule
from relay_training.targets import MERGES, TargetLaw
from relay_training.teach import TeacherCache

Law = TypeVar("Law")


@dataclass(frozen=True, slots=True)
class DataConfig:
    """Sets with their rules, and the laws of views, looks, objects and targets."""

    sets: Mapping[str, SetRule] = field(default_factory=dict)
    views: ViewLaw = field(default_factory=ViewLaw)
    look: LookLaw = field(default_factory=LookLaw)
    objects: ObjectLaw = field(default_factory=ObjectLaw)
    targets: TargetLaw = field(default_factory=TargetLaw)

    def sampler(self, index: Index, seed: int = 0, teacher: TeacherCache | None = None) -> ViewSampler:
        """Views of the sets that are named here (of all sets when none is).

        Raises
        ------
        UsageError
            A set is named that the index does not hold.
        """
        have = [str(name) for name in index.sets]
        missing = sorted(set(self.sets) - set(have))
        if missing:
            raise UsageError(f"There is no set {', '.join(missing)}.", f"The data have {', '.join(have)}.")
        unnamed = {name: SetRule(weight=0.0) for name in have if self.sets and name not in self.sets}
        return ViewSampler(
            index,
            {**unnamed, **self.sets},
            seed=seed,
            law=self.views,
            look=self.look,
            objects=self.objects,
            teacher=teacher,
        )


def read_data_config(path: Path) -> DataConfig:
    """Read a TOML file of that form.

    Raises
    ------
    UsageError
        The file cannot be read, or names something unknown.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"Cannot read the configuration {path}: {error}.", "Give a TOML file.") from error
    unknown = sorted(set(tables) - {f.name for f in fields(DataConfig)})
    if unknown:
        raise UsageError(f"{path} has an unknown table [{unknown[0]}].", "See data_config.py for what it may hold.")
    rules = {name: _filled(SetRule, table, path) for name, table in tables.get("sets", {}).items()}
    for name, rule in rules.items():
        if rule.merge not in MERGES or not (np.isfinite(rule.weight) and rule.weight >= 0):
            raise UsageError(
                f"{path}: set {name} has merge = {rule.merge!r}, weight = {rule.weight}.",
                f"merge is one of {', '.join(MERGES)}; a weight is 0 or more.",
            )
    return DataConfig(
        rules,
        _filled(ViewLaw, tables.get("views", {}), path),
        _filled(LookLaw, tables.get("look", {}), path),
        _filled(ObjectLaw, tables.get("objects", {}), path),
        _filled(TargetLaw, tables.get("targets", {}), path),
    )


def _filled(law: type[Law], table: Mapping[str, Any], path: Path) -> Law:
    try:
        return law(**table)
    except TypeError as error:
        raise UsageError(f"{path}: {error}.", f"Known are the fields of {law.__name__}.") from error
