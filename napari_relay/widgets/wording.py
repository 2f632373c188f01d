"""What the window says: one pure function from the state to a headline and what to do next."""

from __future__ import annotations

from dataclasses import dataclass

from napari_relay.widgets.state import Model, Phase, Shown


@dataclass(frozen=True, slots=True)
class Words:
    """`headline`: how it stands, a few words. `hint`: what to do next. `busy`: show that something runs."""

    headline: str
    hint: str
    busy: bool = False
    alert: bool = False


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def duration(seconds: float) -> str:
    """A time in words that change about once a step: "40 s", "3 min", "1 h 20 min"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def describe(shown: Shown) -> Words:
    """The words for a state."""
    match shown.phase:
        case Phase.NO_IMAGE:
            return Words("No image yet", "Open one here, or drop a file on the window.")
        case Phase.IDLE:
            return Words("The click tool is off", "Press the button above to click objects.")
        case Phase.BLOCKED:
            return Words("This view cannot be clicked", shown.message)
        case Phase.OPENING:
            return Words("Opening ...", _opening(shown), busy=True)
        case Phase.READY:
            return _ready(shown)
        case Phase.COMPUTING:
            return _computing(shown)
        case Phase.PROPOSAL:
            return _proposal(shown)
        case Phase.NOTHING:
            return Words(
                f"No object found · {plural(len(shown.clicks), 'click')}",
                "Click another place inside it, or press Esc, zoom in and click again.",
                alert=True,
            )
        case Phase.FAILED:
            return Words("That did not work", shown.message, alert=True)


def _opening(shown: Shown) -> str:
    if shown.clicks:
        return "Your click is kept; its mask shows as soon as the model is loaded."
    return "You can look around and click already."


def _ready(shown: Shown) -> Words:
    if shown.unsaved:
        return Words(f"{plural(shown.unsaved, 'object')} not saved", shown.message, alert=True)
    loading = " The model is still loading." if shown.model is Model.STARTING else ""
    if shown.objects == 0:
        return Words("Click an object", f"Left click inside it. More clicks correct the mask.{loading}")
    return Words("Click the next object", f"Left click inside it. Press ? for all keys.{loading}")


def _computing(shown: Shown) -> Words:
    if shown.model is Model.STARTING:
        return Words("Loading the model ...", _opening(shown), busy=True)
    if shown.model is Model.RESTARTING:
        return Words("Starting the model again ...", "Your clicks are kept and run again.", busy=True)
    return Words(f"Working on click {len(shown.clicks)} ...", "Go on clicking, panning and zooming.", busy=True)


def _proposal(shown: Shown) -> Words:
    headline = plural(len(shown.clicks), "click")
    if shown.score is not None:
        headline += f" · score {shown.score:.2f}"
    other = ""
    if shown.alternatives > 1:
        other = f"Tab shows another mask (this is {shown.alternative + 1} of {shown.alternatives}). "
    return Words(
        headline,
        f"Enter accepts it as {shown.current_class or 'object'}. {other}"
        "Click what is missing, Shift+click what is too much.",
    )
