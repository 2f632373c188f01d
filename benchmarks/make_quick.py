"""Make `benchmarks/quick.txt`: a fixed list of 20 objects a set for daily comparison.

    python benchmarks/make_quick.py DIR > benchmarks/quick.txt

DIR is a folder of sets. Nothing is random: the pictures are spread evenly over the sorted ids, and in pictures with
several objects the choice goes through the sizes in turn (the largest in the first, the second largest in the next).
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "training"))

from relay_training.bench_data import ObjectRule, Task, find_sets, plan_tasks

OBJECTS = 20


def evenly(count: int, total: int) -> list[int]:
    """`count` of the numbers 0..total - 1, evenly spread, repeated where there are fewer."""
    return [(2 * index + 1) * total // (2 * count) for index in range(count)]


def choose(tasks: list[Task]) -> list[tuple[str, int]]:
    """(picture id, object) pairs of one set, in the order of the pictures."""
    wanted = Counter(evenly(OBJECTS, len(tasks)))
    chosen = []
    spare = 0
    for index, task in enumerate(tasks):
        count = min(len(task.labels), wanted[index] + spare)
        spare += wanted[index] - count
        chosen += [(task.picture.id, task.labels[(index + n) % len(task.labels)]) for n in range(count)]
    return chosen


def main(folder: str) -> None:
    print(f"# {OBJECTS} objects a set, made by benchmarks/make_quick.py: set/picture object")
    for pictures in find_sets(Path(folder)):
        for id_, label in choose(plan_tasks(pictures, ObjectRule(), None)):
            print(f"{pictures.name}/{id_} {label}")


if __name__ == "__main__":
    main(*sys.argv[1:])
