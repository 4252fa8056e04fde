"""Answers requests for timings, one JSON object a line, until standard input ends.

{"op": "train-step", "arch": "lenet_adv", "width": 1, "batch": 64, "attack_steps": 40, "epsilon": 0.3, "step_size": 0.01, "repeat": 5}
is answered with {"ms": [..], "threads": 2}, or {"error": ".."}. What a request set up is kept for the same one later.
"""
import json
import os
import sys
import tempfile

import numpy
import torch

import pruning
import rates
import steps

cache = {}
default_threads = torch.get_num_threads()


def kept(r, make):
    """What was made for a request like this one, which only asks for another number of repetitions or threads."""
    key = json.dumps({k: v for k, v in r.items() if k not in ("repeat", "warmup", "threads")}, sort_keys=True)
    if key not in cache:
        cache[key] = make()
    return cache[key]


def repeated(r, thing):
    thing(r.get("warmup", 0))
    return {"ms": thing(r.get("repeat", 1)), "threads": torch.get_num_threads()}


def train_step(r):
    return repeated(r, kept(r, lambda: steps.Trainer(r)).timed)


def natural_epoch(r, root):
    import epoch  # needs torchvision, which little else here does
    return repeated(r, kept(r, lambda: epoch.Epoch(r, root)).timed)


def decode(r):
    import image_folder  # needs torchvision too
    return repeated(r, kept(r, lambda: image_folder.Folder(r)).timed)


def rate(r):
    device = torch.device(r.get("device", "cpu"))
    f = kept(r, lambda: getattr(rates, r["op"])(r, device))
    return repeated(r, lambda n: steps.timed(f, n, device))


def percentile(r):
    p = kept(r, lambda: pruning.Pruning(r))

    def timed(n):  # on weights of their own, since it works in place
        return [steps.timed(lambda: p.projection(weights), 1)[0] for weights in (p.fresh() for _ in range(n))]

    return repeated(r, timed)


def admm_update(r):
    p = kept(r, lambda: pruning.Pruning(r))
    return repeated(r, lambda n: steps.timed(p.update, n))


def version(r):
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""
    return {"torch": torch.__version__, "numpy": numpy.__version__, "threads": default_threads, "gpu": gpu}


def parameters(r):
    model = kept(r, lambda: steps.Trainer(r)).model
    return {"parameters": sum(p.numel() for p in model.parameters())}


def loss(r):
    trainer = kept(r, lambda: steps.Trainer(r))
    return {"losses": [trainer.step().item() for _ in range(r.get("repeat", 1))]}


def forget(r):
    cache.clear()
    return {}


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed must not mix with the answers
    with tempfile.TemporaryDirectory() as root:
        ops = {"train-step": train_step, "natural-epoch": lambda r: natural_epoch(r, root), "image-folder": decode,
               "matmul": rate, "conv": rate, "copy": rate, "numpy-percentile": percentile, "admm-update": admm_update, "version": version,
               "parameters": parameters, "loss": loss, "forget": forget}
        for line in sys.stdin:
            try:
                r = json.loads(line)
                torch.set_num_threads(r.get("threads") or default_threads)
                answer = ops[r["op"]](r)
            except Exception as e:  # the next request may do better
                answer = {"error": f"{type(e).__name__}: {e}"}
            answers.write(json.dumps(answer) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
