#!/usr/bin/env python3
"""Attack a rapt checkpoint with the published AutoAttack code.

The published package (github.com/fra31/auto-attack) is imported from a folder
that the caller names; nothing of it is part of rapt. The network is the plain
PyTorch one of scripts/pytorch_check.py. Needs python3 with torch, torchvision
and numpy.

    scripts/autoattack_parity.py CHECKPOINT --package DIR --data DIR

Prints one JSON object: clean accuracy, accuracy after each attack (fractions,
each counting the attacks before it), and the seconds each took, by the wall
clock and of the processor.
"""
import argparse
import json
import os
import sys
import time

if "--threads" not in sys.argv:  # OpenBLAS reads this when it is loaded, and knows no other way
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import torch

import pytorch_check


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("checkpoint")
    p.add_argument("--package", required=True, help="the folder that holds the package's folder autoattack")
    p.add_argument("--data", required=True, help="folder with the MNIST test files, or a file of rapt predict --images")
    p.add_argument("--arch", help="default: what the checkpoint says")
    p.add_argument("--norm", choices=["Linf", "L2"], help="default: what the checkpoint was trained with")
    p.add_argument("--eps", type=float, default=0.3)
    p.add_argument("--limit", type=int, default=1000, help="the first so many test images")
    p.add_argument("--batch", type=int, default=250)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--device", default="cpu")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--attacks", default="apgd-ce,apgd-t,fab-t,square")
    p.add_argument("--queries", type=int, default=5000, help="of square")
    a = p.parse_args()
    sys.path.insert(0, a.package)
    from autoattack import AutoAttack

    torch.set_num_threads(a.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    model, meta, _ = pytorch_check.load(a.checkpoint, a.arch)
    model.to(a.device)
    a.norm = a.norm or meta.get("norm", "Linf")
    x, y = (t[: a.limit].to(a.device) for t in pytorch_check.read_test(a.data))

    with torch.no_grad():
        stands = model(x).argmax(1) == y
    out = {"torch": torch.__version__, "examples": len(y), "norm": a.norm, "eps": a.eps, "threads": a.threads,
           "clean_accuracy": stands.float().mean().item(), "attacks": []}
    for name in a.attacks.split(","):  # one at a time on what stands, as the standard version does, to time each
        judge = AutoAttack(model, norm=a.norm, eps=a.eps, version="standard", device=a.device, verbose=False, seed=a.seed)
        judge.attacks_to_run = [name]
        judge.square.n_queries = a.queries
        wall, cpu = time.perf_counter(), time.process_time()
        left = stands.nonzero().flatten()
        adv = judge.run_standard_evaluation(x[left], y[left], bs=a.batch)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        with torch.no_grad():
            stands[left] = model(adv).argmax(1) == y[left]
        out["attacks"].append({"name": name, "accuracy": stands.float().mean().item(), "seconds": round(wall, 1), "cpu_seconds": round(cpu, 1)})
        print(name, out["attacks"][-1], file=sys.stderr, flush=True)
    print(json.dumps(out))


if __name__ == "__main__":
    main()
