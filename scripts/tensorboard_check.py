#!/usr/bin/env python3
"""Opens the event files of run folders with TensorBoard's own reader, and compares the curves it shows with metrics.jsonl.

    scripts/tensorboard_check.py RUN [RUN ...]

Every series must have the steps and values of metrics.jsonl, in order: also where the run was killed and went on, which
TensorBoard has to be told to forget some steps for. Needs python3 with tensorboard. Exit code 1 where they differ.
"""
import collections
import json
import math
import pathlib
import sys

import numpy
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def rows(path):
    """The series of a metrics.jsonl: {tag: [(step, value as float32)]}."""
    series = collections.defaultdict(list)
    for line in path.read_text().splitlines():
        row = json.loads(line)
        for tag, value in row.items():
            if tag not in ("ts", "stage", "epoch", "step"):
                series[tag].append((row["step"], float(numpy.float32(float(value)))))
    return series


def same(a, b):
    return len(a) == len(b) and all(s == t and (v == w or math.isnan(v) and math.isnan(w)) for (s, v), (t, w) in zip(a, b))


def check(folder):
    """Whether TensorBoard shows what the run wrote."""
    shown = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    shown.Reload()
    want, tags = rows(folder / "metrics.jsonl"), set(shown.Tags()["scalars"])
    wrong = sorted(tags ^ set(want))
    for tag in sorted(tags & set(want)):
        points = [(e.step, e.value) for e in shown.Scalars(tag)]
        steps = [step for step, _ in points]
        if not same(points, want[tag]) or steps != sorted(steps):
            wrong.append(f"{tag} ({len(points)} points, {len(want[tag])} in metrics.jsonl)")
    files = len(list(folder.glob("events.out.tfevents.*")))
    print(f"{folder}: {len(tags)} series from {files} event files", "as in metrics.jsonl" if tags and not wrong else "differ: " + ", ".join(wrong))
    return bool(tags) and not wrong


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    results = [check(pathlib.Path(folder)) for folder in sys.argv[1:]]
    sys.exit(not all(results))
