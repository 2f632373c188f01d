"""The command line: one file a command, each a thin shell around the rooms below.

It must not hold logic that the Python API could not reach, and loads neither torch nor napari before a command
needs them. Read app.py first: it says how words become commands and errors become exit codes.
"""

from napari_relay.cli.app import main

__all__ = ["main"]
