"""Qt, OpenGL, fonts: can the window open here?"""

from __future__ import annotations

from napari_relay.cli.doctor.facts import Facts, Finding, Verdict

PACKAGE_OF = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libGLX.so.0": "libglx0",
    "libOpenGL.so.0": "libopengl0",
    "libX11-xcb.so.1": "libx11-xcb1",
    "libX11.so.6": "libx11-6",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libfreetype.so.6": "libfreetype6",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-image.so.0": "libxcb-image0",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-randr.so.0": "libxcb-randr0",
    "libxcb-render-util.so.0": "libxcb-render-util0",
    "libxcb-render.so.0": "libxcb-render0",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxcb-shm.so.0": "libxcb-shm0",
    "libxcb-sync.so.1": "libxcb-sync1",
    "libxcb-util.so.1": "libxcb-util1",
    "libxcb-xfixes.so.0": "libxcb-xfixes0",
    "libxcb-xinerama.so.0": "libxcb-xinerama0",
    "libxcb-xkb.so.1": "libxcb-xkb1",
    "libxcb.so.1": "libxcb1",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
    "libxkbcommon.so.0": "libxkbcommon0",
}
"""Library -> Debian and Ubuntu package."""


def check_window_packages(facts: Facts) -> Finding:
    have = facts.packages
    bindings = [name for name in ("PyQt5", "PyQt6") if name in have]
    if "napari" not in have:
        return Finding(
            "napari",
            Verdict.NOTE,
            "The window is not installed; the command line and the Python API work.",
            'pip install "napari-relay[desktop]"',
        )
    if not bindings:
        return Finding(
            "napari", Verdict.BROKEN, "napari has no Qt to draw with.", 'pip install "napari-relay[desktop]"'
        )
    if _version(have["napari"], 2) != (0, 9):
        return Finding(
            "napari",
            Verdict.BROKEN,
            f"napari {have['napari']} is installed; this program is made for 0.9.",
            'pip install "napari>=0.9,<0.10"',
        )
    if have.get("PyQt6-Qt6") in ("6.11.0", "6.11.1"):
        return Finding(
            "napari",
            Verdict.BROKEN,
            f"Qt {have['PyQt6-Qt6']} breaks the layout of docks.",
            'pip install "PyQt6-Qt6!=6.11.0,!=6.11.1"',
        )
    wanted = facts.environment.get("QT_API", "").lower()
    if wanted and wanted not in [name.lower() for name in bindings]:
        return Finding(
            "napari",
            Verdict.BROKEN,
            f"QT_API asks for {wanted}, but {' and '.join(bindings)} is installed.",
            "unset QT_API",
        )
    return Finding("napari", Verdict.OK, f"napari {have['napari']} with {facts.qt.values.get('binding', bindings[0])}")


def check_screen(facts: Facts) -> Finding:
    """The first of the known troubles between Qt and the screen that fits."""
    if not {"PyQt5", "PyQt6"} & set(facts.packages):
        return Finding("Screen", Verdict.NOTE, "Not looked at: Qt is not installed.")
    trouble = _library_trouble(facts) or _start_trouble(facts)
    if trouble is not None:
        return trouble
    if facts.system == "Linux" and not _has_display(facts):
        return Finding(
            "Screen",
            Verdict.NOTE,
            "There is no screen, so the window cannot open; the command line and the Python API work.",
            "Over ssh: ssh -X. Without any screen: xvfb-run -a napari-relay IMAGE",
        )
    known = facts.qt.values
    return Finding("Screen", Verdict.OK, f"Qt {known.get('qt')} on {known.get('platform')}")


def _library_trouble(facts: Facts) -> Finding | None:
    """Missing system libraries, from the loader or from Python's own words."""
    missing = set(facts.missing_libraries)
    for word in facts.qt.words.replace(":", " ").split():
        if word in PACKAGE_OF and "cannot open shared object" in facts.qt.words:
            missing.add(word)
    if not missing:
        return None
    names = ", ".join(sorted(missing))
    if facts.apt:
        packages = " ".join(sorted({PACKAGE_OF.get(name, name) for name in missing}))
        fix = f"sudo apt-get install {packages}"
    else:
        fix = f"Install your system's packages that hold {names}."
    return Finding("Screen", Verdict.BROKEN, f"Qt misses system libraries: {names}.", fix)


def _start_trouble(facts: Facts) -> Finding | None:
    """Qt did not start."""
    probe, known = facts.qt, facts.qt.values
    if probe.returncode is None:
        what, fix = "Qt did not answer for two minutes.", "Check that the screen answers: xdpyinfo | head -3"
    elif "could not connect to display" in probe.words or "cannot open display" in probe.words:
        what = f"The screen {facts.environment.get('DISPLAY', '')!r} does not answer."
        fix = "Over ssh: ssh -X. In a container: pass DISPLAY and /tmp/.X11-unix. Without a screen: xvfb-run -a"
    elif "binding" not in known:
        words = str(known.get("error") or probe.stderr).strip()[:200]
        what, fix = f"Qt cannot be imported ({words}).", 'pip install --force-reinstall "napari-relay[desktop]"'
    elif "platform" in known:
        return None
    elif _opencv(facts):
        what = f"{_opencv(facts)} brings a Qt of its own, which stops this one from starting."
        fix = f"pip uninstall -y {_opencv(facts)} && pip install opencv-python-headless"
    elif "QT_PLUGIN_PATH" in facts.environment or "QT_QPA_PLATFORM_PLUGIN_PATH" in facts.environment:
        what, fix = "QT_PLUGIN_PATH points to another Qt.", "unset QT_PLUGIN_PATH QT_QPA_PLATFORM_PLUGIN_PATH"
    else:
        what = f"Qt stops when it starts ({probe.words.strip()[-200:]})."
        fix = 'pip install --force-reinstall "napari-relay[desktop]"'
    return Finding("Screen", Verdict.BROKEN, what, fix)


def check_fonts(facts: Facts) -> Finding:
    known = facts.qt.values
    if "platform" not in known:
        return Finding("Fonts", Verdict.NOTE, "Not looked at: Qt does not start.")
    if "fonts" not in known:
        return Finding(
            "Fonts",
            Verdict.BROKEN,
            "Qt crashes while it reads the fonts: their cache is damaged.",
            "rm -rf ~/.cache/fontconfig && fc-cache -r -f",
        )
    if known["fonts"] == 0:
        fix = "sudo apt-get install fonts-dejavu-core" if facts.apt else "Install a font, such as DejaVu."
        return Finding("Fonts", Verdict.BROKEN, "There are no fonts: the window would have no letters.", fix)
    return Finding("Fonts", Verdict.OK, f"{known['fonts']} font families")


def check_opengl(facts: Facts) -> Finding:
    known, environment, words = facts.qt.values, facts.environment, facts.qt.words
    if "fonts" not in known or (facts.system == "Linux" and not _has_display(facts)):
        return Finding("OpenGL", Verdict.NOTE, "Not looked at: Qt has no screen.")
    if known.get("gl") is True:
        slow = "llvmpipe" in str(known.get("renderer")) or "softpipe" in str(known.get("renderer"))
        what = f"{known.get('renderer')}, {known.get('version')}"
        return Finding("OpenGL", Verdict.NOTE if slow else Verdict.OK, what + (": drawn by the CPU" if slow else ""))
    if "GLIBCXX" in words or "MESA-LOADER: failed to open" in words:
        return Finding(
            "OpenGL",
            Verdict.BROKEN,
            "The graphics driver needs a newer C++ library than this environment brings.",
            "conda install -c conda-forge libstdcxx-ng",
        )
    if "PYOPENGL_PLATFORM" in environment:
        return Finding(
            "OpenGL",
            Verdict.BROKEN,
            f"PYOPENGL_PLATFORM={environment['PYOPENGL_PLATFORM']} does not fit how Qt draws here.",
            "unset PYOPENGL_PLATFORM",
        )
    if _wayland(facts):
        return Finding(
            "OpenGL",
            Verdict.BROKEN,
            "Qt draws on Wayland, where the canvas finds no OpenGL (GLX).",
            "export QT_QPA_PLATFORM=xcb (add it to ~/.profile to keep it)",
        )
    if facts.qt.returncode not in (0, None):
        return Finding(
            "OpenGL",
            Verdict.BROKEN,
            "The graphics driver crashes when it makes a context.",
            "export LIBGL_ALWAYS_SOFTWARE=1 works at once; then update the graphics driver",
        )
    fix = "sudo apt-get install libgl1-mesa-dri" if facts.apt else "Update the graphics driver."
    return Finding("OpenGL", Verdict.BROKEN, "No OpenGL context can be made.", fix)


def _wayland(facts: Facts) -> bool:
    platform = str(facts.qt.values.get("platform", ""))
    return platform.startswith("wayland") or facts.environment.get("XDG_SESSION_TYPE") == "wayland"


def _has_display(facts: Facts) -> bool:
    return bool(facts.environment.get("DISPLAY") or facts.environment.get("WAYLAND_DISPLAY"))


def _opencv(facts: Facts) -> str:
    return next((name for name in ("opencv-python", "opencv-contrib-python") if name in facts.packages), "")


def _version(text: str, parts: int) -> tuple[int, ...]:
    numbers = [part for part in text.split(".")[:parts] if part.isdecimal()]
    return tuple(int(part) for part in numbers)
