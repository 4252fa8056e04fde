"""Opens the event files of run folders with TensorBoard's own reader: each step of a series once and in order, as curves must have them."""
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

failed = False
for folder in sys.argv[1:]:
    a = EventAccumulator(folder, size_guidance={"scalars": 0})
    a.Reload()
    tags = a.Tags()["scalars"]
    for tag in tags:
        steps = [e.step for e in a.Scalars(tag)]
        if any(later <= step for step, later in zip(steps, steps[1:])):
            failed = True
            print(f"{folder}: {tag} goes back: {steps}")
    print(f"{folder}: {len(tags)} series in TensorBoard")
    failed = failed or "train/loss" not in tags
sys.exit(failed)
