"""Learning from a project's objects: the process behind `napari-relay learn`.

Read `run.py` first (the job), then `click_head.py` (what is measured and trained) and `click.py` (a training step).
"""
