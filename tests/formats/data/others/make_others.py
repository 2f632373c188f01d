"""Makes the files of this folder: each is written by the program that it is named after, not by napari-relay.

No test runs this. It needs datumaro, labelme, qubalab (with rasterio) and pycocotools, in an environment of their own:

    python -m venv others && others/bin/pip install datumaro labelme qubalab pycocotools
    QT_QPA_PLATFORM=offscreen others/bin/python tests/formats/data/others/make_others.py

The objects are those of `tests/formats/others_objects.py`, coins of the bundled sample.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from others_objects import CLASS_OF, IN_PARTS, SAMPLES, WITH_HOLE, labels, masks  # noqa: E402

CLASSES = sorted(set(CLASS_OF.values()))
IMAGE = SAMPLES / "coins.png"


def outlines(mask: np.ndarray) -> list[list[float]]:
    """The outer outline of each part along the sides of its pixels: x, y, x, y .."""
    from rasterio.features import shapes

    found = []
    for geometry, _ in shapes(mask.astype(np.uint8), mask=mask, connectivity=4):
        ring = geometry["coordinates"][0][:-1]
        found.append([float(number) for point in ring for number in point])
    return found


def drawn() -> Iterator[object]:
    """Annotations as datumaro holds them: polygons, one a part, and masks where there are holes."""
    from datumaro.components.annotation import Mask, Polygon

    for number, mask in masks().items():
        common = {"label": CLASSES.index(CLASS_OF[number]), "id": number, "group": number}
        if number in WITH_HOLE:
            yield Mask(mask.astype(np.uint8), **common)
        else:
            for outline in outlines(mask):
                yield Polygon(outline, **common)


def with_datumaro(format: str, annotations: list[object], **settings: object) -> bytes:
    """The one file of annotations that datumaro's exporter writes."""
    from datumaro.components.dataset import Dataset
    from datumaro.components.dataset_base import DatasetItem
    from datumaro.components.media import Image

    item = DatasetItem("coins", subset="default", media=Image.from_file(str(IMAGE)), annotations=annotations)
    with tempfile.TemporaryDirectory() as folder:
        Dataset.from_iterable([item], categories=CLASSES).export(folder, format, save_media=False, **settings)
        (written,) = [path for path in Path(folder).rglob("*") if path.suffix in (".json", ".xml")]
        return written.read_bytes()


def other_shapes() -> list[object]:
    """What is no mask or outline: a box, a box that is turned, a line, points."""
    from datumaro.components.annotation import Bbox, Points, PolyLine, RotatedBbox

    return [
        Bbox(84, 108, 38, 37, label=1),
        RotatedBbox(206, 125, 40, 30, 30, label=0),
        PolyLine([10, 10, 20, 20, 30, 10], label=1),
        Points([50, 60], label=1),
    ]


def labelme() -> None:
    """Coins with a hole as mask shapes, the others as polygons of labelme's own making; three shapes drawn."""
    from labelme import _automation
    from labelme._label_file import LabelFile
    from labelme._shape import Shape
    from labelme.app import _shape_to_dict
    from PyQt5.QtCore import QPointF
    from skimage.measure import label

    shapes: list[Shape] = []
    for number, mask in masks().items():
        parts = label(mask, connectivity=1) if number in IN_PARTS else mask.astype(int)
        for part in range(1, parts.max() + 1):
            y, x = np.nonzero(parts == part)
            box = (x.min(), y.min(), x.max(), y.max())
            crop = (parts == part)[box[1] : box[3] + 1, box[0] : box[2] + 1]
            detection = _automation.Detection(
                bbox=tuple(map(float, box)), mask=crop, label=CLASS_OF[number], description=f"coin {number}"
            )
            kind = "mask" if number in WITH_HOLE else "polygon"
            (shape,) = _automation.shapes_from_detections(detections=[detection], shape_type=kind)
            shape.group_id = number if number in IN_PARTS else None
            shapes.append(shape)
    for kind, points in {
        "rectangle": [(84, 108), (122, 145)],
        "circle": [(154, 127), (172, 127)],
        "oriented_rectangle": [(196, 105), (226, 115), (216, 145), (186, 135)],
        "point": [(10, 10)],
    }.items():
        shape = Shape(label="small coin", shape_type=kind)
        for point in points:
            shape.points.append(QPointF(*point))
        shapes.append(shape)
    LabelFile().save(
        str(HERE / "labelme.json"), shapes=[_shape_to_dict(shape) for shape in shapes], image_path="coins.png",
        image_height=labels().shape[0], image_width=labels().shape[1],
    )  # fmt: skip


def qubalab() -> None:
    """Features of the label image."""
    import geojson
    from qubalab.objects.image_feature import ImageFeature

    random.seed(1)  # its colours
    features = ImageFeature.create_from_label_image(labels(), include_labels=True, classification_names=CLASS_OF)
    (HERE / "qubalab.geojson").write_text(geojson.dumps(geojson.FeatureCollection(features)), encoding="utf-8")


def pycocotools() -> None:
    """Packed run lengths, boxes and areas by COCO's own code, in the frame that its readers expect."""
    from pycocotools import mask as coco

    annotations = []
    for number, mask in masks().items():
        packed = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        annotations.append({
            "id": number, "image_id": 1, "category_id": CLASSES.index(CLASS_OF[number]) + 1, "iscrowd": 0,
            "area": int(coco.area(packed)), "bbox": coco.toBbox(packed).tolist(),
            "segmentation": {"size": packed["size"], "counts": packed["counts"].decode("ascii")},
        })  # fmt: skip
    height, width = labels().shape
    content = {
        "images": [{"id": 1, "file_name": "coins.png", "height": height, "width": width}],
        "categories": [{"id": number, "name": name} for number, name in enumerate(CLASSES, start=1)],
        "annotations": annotations,
    }
    (HERE / "pycocotools.json").write_text(json.dumps(content), encoding="utf-8")


def main() -> None:
    (HERE / "datumaro_cvat.xml").write_bytes(with_datumaro("cvat", [*drawn(), *other_shapes()]))
    (HERE / "datumaro_coco.json").write_bytes(with_datumaro("coco_instances", list(drawn())))
    labelme()
    qubalab()
    pycocotools()
    shutil.rmtree(HERE / "__pycache__", ignore_errors=True)


if __name__ == "__main__":
    main()
