"""Write the measured tables of `docs/model.md` from what lies in `benchmarks/results/`.

    python benchmarks/model_page.py [--check] [--page docs/model.md] [--results DIR]

    bench       of the reports of `evaluate` and `compare` on the quick list
    targets     of reports of `evaluate` and `compare` (see targets.py)
    relay       of `relay_training blank --json` in blank.json
    checks      of `relay_training evaluate --checks --json` in checks.json
    ablation    of `relay_training ablate` in ablation.json
    edges       of the newest line of edges.json

Only the text between the markers `<!-- NAME -->` and `<!-- /NAME -->` is replaced. `--check` writes nothing and exits
with 1 when the page is not what it would write.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import targets
from napari_relay.errors import UsageError
from recording import keep_page, run
from relay_training.ablate import read_results
from relay_training.check_report import from_json
from relay_training.metrics import SetMetrics
from relay_training.report import Report
from report import newest, read_lines

PAGE = Path(__file__).parents[1] / "docs" / "model.md"
NOT_YET = "Not measured yet."


def main() -> None:
    """Rewrite the page, or check it."""
    keep_page(__doc__, PAGE, written)


def written(page: str, results: Path) -> str:
    """The page with every block made anew.

    Raises
    ------
    UsageError
        A marker is missing, or a file of results holds something else.
    """
    for name, make in BLOCKS.items():
        page = replaced(page, name, make(results))
    return page


def replaced(page: str, name: str, text: str) -> str:
    """The page with `text` between the markers of `name`."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise UsageError(f"The page has not both markers of {name}.", f"Put {begin} and {end} into it.")
    return f"{before}{begin}\n{text}\n{end}{after}"


def of_bench(results: Path) -> str:
    """The quick list, set by set: the bundled checkpoint, its start and the peer."""
    ours = targets.measured_sets(targets.read_reports(results))
    contenders: dict[str, dict[str, SetMetrics]] = {"`small`": {name: found.product for name, found in ours.items()}}
    for title, name in (("`step0`", "step0_quick.json"), ("MobileSAM at 1024", "peer_quick.json")):
        contenders[title] = Report.load(results / name).metrics() if (results / name).exists() else {}
    sets = sorted({name for found in contenders.values() for name in found})
    rows = [(name, *(_bench_cell(found.get(name)) for found in contenders.values())) for name in sets]
    means = ("mean of NoC@85", *(_bench_mean(found, sets) for found in contenders.values()))
    about = "`benchmarks/quick.txt` (20 objects a set), one thread: mIoU@1 / @3, NoC@85 / @90."
    return f"{about}\n\n{_table(('set', *contenders), [*rows, means])}"


def _bench_cell(found: SetMetrics | None) -> str:
    if found is None:
        return "-"
    return f"{found.miou[1]:.2f} / {found.miou[3]:.2f}, {found.noc[85]:.2f} / {found.noc[90]:.2f}"


def _bench_mean(found: Mapping[str, SetMetrics], sets: Sequence[str]) -> str:
    """A dash where a set is missing: means over other sets cannot be compared."""
    return f"{mean(found[name].noc[85] for name in sets):.2f}" if sets and found.keys() >= set(sets) else "-"


def of_targets(results: Path) -> str:
    """What the bundled checkpoint must reach, and what it reached."""
    figures = {key: figure for key, (figure, _) in newest(read_lines(results)).items()}
    return targets.table(targets.measured_sets(targets.read_reports(results)), figures)


def of_relay(results: Path) -> str:
    """What the global view and the local relay set are worth, by set."""
    data = _json(results / "blank.json")
    if data is None:
        return NOT_YET
    rows = []
    for name, worth in data["sets"].items():
        for condition, miou in worth["miou"].items():
            lost = worth["lost"].get(condition)
            by = "" if lost is None else f"{lost[0]:.3f} ({lost[1]:.3f} to {lost[2]:.3f})"
            rows.append((name, str(worth["objects"]), condition, f"{miou:.3f}", by))
        if worth["ceiling"] is not None:
            rows.append((name, "", "the most that the local view allows", f"{worth['ceiling']:.3f}", ""))
    return _table(("set", "objects", "seen", "mIoU@1", "lost (95 % interval)"), rows) + _signed(data)


def of_checks(results: Path) -> str:
    """What holds for the trained checkpoint."""
    path = results / "checks.json"
    data = _json(path)
    if data is None:
        return NOT_YET
    rows = []
    for check in from_json(path.read_text(encoding="utf-8")):
        value = "-" if check.value is None else f"{check.value:.3f}"
        verdict = {None: "not measured", True: "ok", False: "**not ok**"}[check.met]
        rows.append((check.name, str(check.cases), f"{check.better} {check.bar:g}", value, verdict))
    return _table(("what", "cases", "wanted", "value", ""), rows) + _signed(data)


def of_ablation(results: Path) -> str:
    """The parts of the model, one by one."""
    found = read_results(results / "ablation.json")
    if not found:
        return NOT_YET
    order = sorted(found, key=lambda name: (name != "step0", name != "full", found[name]["group"], name))
    rows = [_ablation_row(found[name]) for name in order]
    head = ("part", "", "samples", "NoC@85", "NoC@90", "mIoU@1 / @3 / @5", "context set", "small views")
    return _table(head, rows)


def _ablation_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    title = (row["group"], row["title"])
    if "missing" in row:
        return (*title, "", f"not run: {row['missing']}", "", "", "", "")
    clicks, context = row["measured"].get("clicks"), row["measured"].get("context")
    cells = ("", "", "")
    if clicks is not None:
        miou = " / ".join(_fixed(clicks["miou"][n]) for n in ("1", "3", "5"))
        cells = (_fixed(clicks["noc85"]), _fixed(clicks["noc90"]), miou)
    small = ("", "") if context is None else tuple(_fixed(context[name]["miou1"]) for name in ("context", "bench"))
    samples = f"as {row['of']}" if "of" in row else f"{row['samples']:,}"
    return (*title, samples, *cells, *small)


def of_edges(results: Path) -> str:
    """Borders before and after they are predicted again."""
    path = results / "edges.json"
    lines = [line for line in read_lines(results) if line.get("benchmark") == "edges"] if path.exists() else []
    if not lines:
        return NOT_YET
    line = lines[-1]
    rows = [
        (f["key"].removeprefix("edges, "), f"{f['value']:.3f} {f['unit']}".strip(), f["text"]) for f in line["figures"]
    ]
    details = line["details"]
    about = f"Checkpoint `{details['checkpoint']}`, {details['clicks']} clicks, {len(details['objects'])} objects; "
    return _table(("mean", "value", "before and after"), rows) + f"\n\n{about}`{line['command']}`, {line['date']}."


def _json(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return data


def _signed(data: Mapping[str, Any]) -> str:
    machine = data["machine"]
    return f"\n\nCheckpoint `{data['checkpoint']}`, {data['dtype']}, {machine['processor']}, {machine['date']}."


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _fixed(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


BLOCKS: dict[str, Callable[[Path], str]] = {
    "bench": of_bench,
    "targets": of_targets,
    "relay": of_relay,
    "checks": of_checks,
    "ablation": of_ablation,
    "edges": of_edges,
}
"""Name of a block -> what makes it."""

if __name__ == "__main__":
    run(main)
