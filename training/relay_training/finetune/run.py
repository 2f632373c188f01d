"""`python -m relay_training finetune JOBFOLDER`: the process that learns from projects.

    setup   low priority, the job's projects, images and weights
    heads   each trains and judges itself (`heads.HEADS`); the click head in `click_head`
            before them the class head of each project that has classes (`class_head`), a file of its own
    result  a checkpoint of the heads that passed their gates, and, where one did not, another of all of them

Started again in the same folder it goes on where it was stopped. The projects are only read: promoting is
`napari_relay.learn`'s.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import psutil
import torch
import typer

from napari_relay.errors import CancelledError, RelayError
from napari_relay.learn.job import JobFolder, LearnJob
from napari_relay.model.checkpoint import (
    Card,
    content_hash,
    default_checkpoint,
    load_checkpoint,
    load_state,
    read_card,
    save_checkpoint,
)
from napari_relay.predictor import Predictor, load_predictor
from napari_relay.predictor.device import choose
from relay_training.finetune import class_head
from relay_training.finetune.cache import Encodings, Stems
from relay_training.finetune.context import Context, Control, HeadResult, InterruptedJobError
from relay_training.finetune.heads import head_named
from relay_training.finetune.material import OpenMaterial, drawn, split, typical_size

log = logging.getLogger(__name__)

INTERRUPTED = 75
"""Exit code of a process that was asked to end and can be gone on with (EX_TEMPFAIL)."""
CANCELLED = 130


def be_humble() -> None:
    """Let everything else on the machine go first.

    Where Linux schedules sessions apart, `nice` counts only inside one: the session itself steps back too.
    """
    process = psutil.Process()
    process.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS if os.name == "nt" else 19)
    try:
        Path("/proc/self/autogroup").write_text("19")
    except OSError as error:  # no such file, or changed too often
        log.debug("The session keeps its priority: %s", error)


def run_job(folder: JobFolder) -> dict[str, Any]:
    """Do the job of a folder; returns the result, which it has written.

    Raises
    ------
    CancelledError, InterruptedJobError
        It was to end; nothing is lost that a second call needs.
    RelayError
    """
    job = folder.job()
    spent = (folder.read("spent.json") or {}).get("seconds", 0.0)
    control = Control(folder, job.minutes * 60, spent)
    control.listen()
    heads = {name: head_named(name) for name in job.heads}
    try:
        with ExitStack() as parts:
            context = _open(job, folder, control, parts)
            if "class" not in heads and class_head.wanted(job, context.materials):
                # First: the time it takes is known to the others then.
                heads = {"class": class_head.run, **heads}
            found = [head(context) for head in heads.values()]
            result = _result(job, folder, context, found)
    finally:
        folder.write("spent.json", {"seconds": control.spent_s})
    folder.write("result.json", {**result, "seconds": round(control.spent_s, 1)})
    control.tell("finished")
    return result


def _open(job: LearnJob, folder: JobFolder, control: Control, parts: ExitStack) -> Context:
    """Everything that heads share, opened; closed with `parts`."""
    control.tell("reading")
    # The heads learn on the CPU: the loop reads its encodings there, and the window may need the GPU.
    if job.threads:
        torch.set_num_threads(job.threads)
    compute = choose("cpu", "auto")
    truths: Sequence[Path | None] = job.truth or [None] * len(job.materials)
    materials = [
        parts.enter_context(OpenMaterial(material, truth))
        for material, truth in zip(job.materials, truths, strict=True)
    ]
    examples = drawn([e for number, material in enumerate(materials) for e in material.examples(number)])
    blocks = [materials[e.source].block(e) for e in examples]
    deal = split(examples, blocks)
    start, card = load_checkpoint(job.start or default_checkpoint())
    predictor = Predictor(start, card, compute)
    before = predictor
    if job.current is not None and deal.mode == "held out":
        # With folds the promoted weights may have seen what measures them; there the start is what counts.
        before = load_predictor(job.current, device="cpu")
        before.share_encodings(predictor)
    encodings = (Stems if job.deep else Encodings)(folder.encodings, predictor.encoder_hash)
    before_px = None if before is predictor else before.card.metrics.get("object_px")
    size = typical_size(deal.final)
    return Context(job, folder, control, materials, deal, start, predictor, before, encodings, size, before_px)


def _result(job: LearnJob, folder: JobFolder, context: Context, found: Sequence[HeadResult]) -> dict[str, Any]:
    """Write the checkpoints; what the result file says."""
    # Not by its tensors: the click head may have learned the objects' size alone, which stands in the card.
    changed = [head for head in found if not head.apart]
    good = [head for head in changed if head.better]
    files = {"better": _save(job, folder, context, good, "better") if good else None, "all": None}
    if changed:
        files["all"] = files["better"] if len(good) == len(changed) else _save(job, folder, context, changed, "all")
    teach = [e for e in context.split.final if not e.rejected]
    return {
        "status": "done",
        "better": bool(good),
        "reason": " ".join(head.reason for head in found),
        "checkpoints": files,
        "objects": len(teach),
        "measured": context.split.mode,
        "heads": {h.name: {"better": h.better, "reason": h.reason, **h.metrics} for h in found},
        "gallery": [str(path.relative_to(folder.path)) for head in found for path in head.gallery],
    }


def _save(job: LearnJob, folder: JobFolder, context: Context, heads: Sequence[HeadResult], name: str) -> str:
    """A checkpoint of what some heads changed, as a difference to the start; the file's name."""
    base = read_card(job.start or default_checkpoint())
    images = sorted({material.source.name for material in context.materials})
    of = images[0] if len(images) == 1 else f"{len(images)} images"
    tensors = {key: tensor for head in heads for key, tensor in head.tensors.items()}
    card = Card(
        name=f"learned-{content_hash(tensors)[:8]}",
        title=f"{base.name}, learned from {len(context.split.final)} objects of {of}",
        licence=base.licence,
        config=base.config,
        start=base.name,
        data=tuple(images),
        recipe=f"napari-relay learn: {', '.join(head.name for head in heads)}",
        limits="Learned for one kind of image; on others the checkpoint it began with is the safer one.",
        metrics={
            "object_px": round(context.object_px, 1),
            **{head.name: {"better": head.better, "reason": head.reason} for head in heads},
        },
        base={"name": base.name if not base.path.is_file() else str(base.path), "hash": content_hash(load_state(base))},
    )
    save_checkpoint(folder.path / f"{name}.safetensors", tensors, card)
    return f"{name}.safetensors"


def command(
    folder: Annotated[Path, typer.Argument(help="Folder of the job, with job.json.")],
    priority: Annotated[bool, typer.Option("--low/--normal", help="Let other programs go first.")] = True,
) -> None:
    """Learn from projects as a job's folder says; resumes. `napari-relay learn` makes the folder and starts this.

    Example: python -m relay_training finetune slide.svs.learn/job-0001
    """
    job = JobFolder(folder)
    if priority:
        be_humble()
    process = psutil.Process()
    job.write("process.json", {"pid": process.pid, "started": process.create_time()})
    try:
        result = run_job(job)
    except InterruptedJobError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(INTERRUPTED) from None
    except CancelledError as error:
        job.write("result.json", {"status": "cancelled", "reason": str(error)})
        raise typer.Exit(CANCELLED) from None
    except (RelayError, MemoryError, OSError) as error:
        job.write("result.json", {"status": "failed", "reason": str(error) or type(error).__name__})
        raise
    typer.echo(json.dumps({"better": result["better"], "reason": result["reason"]}))
