"""Write the table of `docs/performance.md` from the lines in `benchmarks/results/`.

    python benchmarks/report.py [--check] [--page docs/performance.md] [--results DIR]

Of each row the newest line that has it counts, whichever script wrote it. Only the text between the two markers of
the page is replaced. `--check` writes nothing and exits with 1 when the page is not what it would write.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_relay.errors import UsageError
from recording import BUSY_SHARE, keep_page, run

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- begin of measured values -->", "<!-- end of measured values -->"
MISSING = "not measured yet"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the page: the figure's key, what it is called there, and the bar in words."""

    key: str
    what: str
    bar: str = ""


BARS: tuple[tuple[str, tuple[Row, ...]], ...] = (
    (
        "Clicks, against MobileSAM in the same run",
        (
            Row("first click, photo", "first click on a photo (local view cold, no global view needed)",
                "<= 1/4 of `set_image` + `predict`, stretch 1/6"),
            Row("first click, global view cached", "first click, local view cold, global view cached",
                "<= 1/4 of `set_image` + `predict`, stretch 1/6"),
            Row("first click, both views cold", "first click, both views cold", "<= 2/5 of `set_image` + `predict`"),
            Row("further click", "further click in a cached view", "<= `predict`, stretch 1/2"),
            Row("first click, cached view", "first click in a cached view", "as a further click"),
            Row("first click, hover-prefetched", "hover-prefetched first click", "as a further click"),
            Row("second click after 1 s, photo", "second click 1 s after the first, photo", "as a further click"),
            Row("second click after 1 s, large", "second click 1 s after the first, large image",
                "as a further click"),
            Row("further click beside other work",
                "further click while another process computes, threads asleep against spinning"),
            *(Row(f"click while it learns, {stage}", f"p95 of clicks while a job is {stage}, against idle", "2 x idle")
              for stage in ("encoding", "measuring", "learning")),
        ),
    ),
    (
        "Window",
        (
            Row("window start", "`napari-relay IMAGE` until the image is shown and takes clicks",
                "<= bare napari + 1.5 s"),
            Row("window start, project open", "the same, until the project is open"),
            Row("window start, quiet", "the same, until everything is made and the event loop is quiet"),
            Row("stall by our code", "longest stall by our own code while objects are clicked, accepted, taken back",
                "< 50 ms"),
            Row("longest gap of all", "longest gap in the event loop, napari's frames and layers included"),
            Row("frames until accepted pixels, 100k", "Enter to the object's pixels on screen, 100k x 100k",
                "<= 2 frames"),
        ),
    ),
    (
        "Store",
        (
            Row("accept, up to 10000 there",
                "accept until it is on the disk, 10 and 10,000 objects there: the worst case",
                "<= 20 ms + 2 ms a tile"),
            Row("accept, 10000 against 10 there", "the same, 10,000 objects against 10"),
            Row("accept in the window, 100k", "accept in the window, 100k x 100k, median", "<= 20 ms + 2 ms a tile"),
            Row("pyramid behind, 100k", "label pyramid behind an accept, 100k x 100k", "<= 250 ms"),
            Row("open, many objects", "1,000,000 objects: open the project"),
            Row("page of the table, many objects", "1,000,000 objects: a page of the table", "< 50 ms"),
            Row("sort by area, many objects", "1,000,000 objects: sort the table by area, in the background"),
            Row("filter by text, many objects", "1,000,000 objects: filter by text, in the background"),
            Row("rectangle, many objects", "1,000,000 objects: those in 2,000 x 2,000", "< 50 ms"),
            Row("count, many objects", "1,000,000 objects: count", "< 50 ms"),
            Row("undo, many objects", "1,000,000 objects: one undo", "< 50 ms"),
            Row("delete, many objects", "1,000,000 objects: delete 5,000"),
            Row("undo of the delete, many objects", "1,000,000 objects: undo that", "<= 1 s"),
            Row("jump back over many actions, many objects", "1,000,000 objects: 10,000 undo steps in one jump"),
            Row("bytes an object, many objects", "bytes of the file an object, small discs"),
            *(Row(f"export {name}", f"100,000 objects on 20,000 x 20,000 written, read back and compared: {name}",
                  "<= 60 s")
              for name in ("ome-zarr", "label-tiff", "geotiff", "geojson", "geojson-crs", "coco", "labelme",
                           "yolo-seg")),
        ),
    ),
    (
        "Memory and large images",
        (
            Row("memory, 100k, 1000 objects", "resident memory, 100k x 100k open, 1,000 objects, no model",
                "<= 500 MB over bare napari"),
            Row("memory, 100k against 10k", "resident memory of the window, 100k x 100k against 10k x 10k",
                "the same within 50 MB"),
            Row("first pixels, 100k", "start of the program to the first pixels, 100k x 100k"),
            Row("first pixels, 10k", "the same, 10k x 10k"),
            Row("memory, model's process", "resident memory of the model's process"),
            Row("whole image: semantic against the encoder alone", "a class for every pixel against the encoder alone "
                "on the same views", "<= 1.3 x"),
            Row("learn: nuclei_a", "clicks to 85 % after learning from 50 objects of other pictures, per click before: "
                "nuclei", "<= 0.8 x"),
            Row("learn: phase_a", "the same, cells in phase contrast", "<= 0.8 x"),
            Row("learn: aerial_a", "the same, buildings from the air", "<= 0.8 x"),
            Row("learn: all sets", "the same, the mean", "<= 0.8 x"),
            Row("whole image: two workers against one", "the same on two workers of one thread, against one",
                "<= 1 / 1.6 of the time"),
        ),
    ),
)  # fmt: skip


def main() -> None:
    """Rewrite the page, or check it."""
    keep_page(__doc__, PAGE, lambda old, results: replaced(old, tables(newest(read_lines(results))), PAGE))


def read_lines(folder: Path) -> list[dict[str, Any]]:
    """Every run in the folder, oldest first; files that hold something else are left aside."""
    lines: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*.json")):
        try:
            found = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines() if text.strip()]
        except ValueError:
            continue
        lines += [line for line in found if isinstance(line, dict) and "figures" in line]
    return sorted(lines, key=lambda line: str(line["date"]))


def newest(lines: Sequence[dict[str, Any]]) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Key -> its newest (figure, run)."""
    return {figure["key"]: (figure, line) for line in lines for figure in line["figures"]}


def tables(found: dict[str, tuple[dict[str, Any], dict[str, Any]]]) -> str:
    """The page's tables, in Markdown."""
    parts = []
    for title, rows in BARS:
        parts += [f"## {title}", "", "| what | bar | measured | | machine | command | date |", "|" + " --- |" * 7]
        parts += ["| " + " | ".join(_cells(row, found.get(row.key))) + " |" for row in rows]
        parts.append("")
    return "\n".join(parts)


def replaced(page: str, text: str, path: Path) -> str:
    """The page with `text` between its markers.

    Raises
    ------
    UsageError
        A marker is missing.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UsageError(f"{path} has not both markers.", f"Put {BEGIN} and {END} into it.")
    return f"{before}{BEGIN}\n\n{text}\n{END}{after}"


def _cells(row: Row, found: tuple[dict[str, Any], dict[str, Any]] | None) -> list[str]:
    if found is None:
        return [row.what, row.bar, MISSING, "", "", "", ""]
    figure, line = found
    machine = line["machine"]
    where = f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB, {machine['system']}"
    busy = ", while other work ran" if line.get("busy", 0) > BUSY_SHARE else ""
    verdict = {None: "", True: "reached", False: "**missed**"}[figure["met"]]
    text = f" ({figure['text']})" if figure["text"] else ""
    measured = f"{_number(figure['value'])} {figure['unit']}".strip() + text
    return [row.what, row.bar, measured, verdict, where, f"`{line['command']}`", line["date"] + busy]


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    run(main)
