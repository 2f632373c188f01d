"""Folders, space, shared memory: can projects, pyramids and crops be written?"""

from __future__ import annotations

from napari_relay.cli.doctor.facts import Facts, Finding, Place, Verdict

MIB, GIB = 1024**2, 1024**3
LITTLE_BYTES = 500 * MIB
"""Under this a project or the program's own files may fail half-way."""
COMFORT_BYTES = 10 * GIB
"""A pyramid of a large image takes about as much as the image."""
CROPS_BYTES = 32 * MIB
"""Two crops on their way to the worker, and its answer, with some air."""


def check_places(facts: Facts) -> list[Finding]:
    return [_check_place(place) for place in facts.places]


def _check_place(place: Place) -> Finding:
    topic = place.purpose[0].upper() + place.purpose[1:]
    here = place.purpose == "this folder"
    if not place.writable:
        if here:
            return Finding(
                topic,
                Verdict.NOTE,
                f"{place.path} cannot be written; a project of an image here needs another place.",
                "napari-relay IMAGE --project ~/projects/image.relay",
            )
        return Finding(topic, Verdict.BROKEN, f"{place.path} cannot be written.", _make_writable(place))
    if place.free_bytes is None:
        return Finding(topic, Verdict.OK, place.path)
    free = f"{place.path}: {place.free_bytes / GIB:.1f} GiB free"
    if place.free_bytes < LITTLE_BYTES:
        return Finding(topic, Verdict.BROKEN, f"{free}: that is too little.", "Free some space on that disk.")
    if place.free_bytes < COMFORT_BYTES and place.purpose == "cache":
        return Finding(
            topic,
            Verdict.NOTE,
            f"{free}; the pyramid of a large image may not fit.",
            "export NAPARI_RELAY_CACHE_DIR=/a/larger/disk",
        )
    return Finding(topic, Verdict.OK, free)


def _make_writable(place: Place) -> str:
    if place.purpose == "temporary files":
        return "export TMPDIR=/a/folder/you/may/write"
    return f'sudo chown -R "$USER" {place.path!r}'


def check_shared_memory(facts: Facts) -> Finding:
    place = facts.shared_memory
    if place is None:
        return Finding("Shared memory", Verdict.OK, "Kept by the system")
    if not place.writable:
        return Finding(
            "Shared memory", Verdict.BROKEN, f"{place.path} cannot be written.", f"sudo chmod 1777 {place.path}"
        )
    if place.free_bytes is not None and place.free_bytes < CROPS_BYTES:
        return Finding(
            "Shared memory",
            Verdict.BROKEN,
            f"{place.path} has {place.free_bytes / MIB:.0f} MiB left; the window sends crops through it.",
            "In a container: docker run --shm-size=1g. Else close the programs that fill it.",
        )
    return Finding("Shared memory", Verdict.OK, f"{place.path}: {(place.free_bytes or 0) / MIB:.0f} MiB free")
