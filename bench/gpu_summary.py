"""Joins what bench/gpu.sh left in its folder to one JSON object on standard output."""
import datetime
import json
import pathlib
import re
import sys

import torch

kit = pathlib.Path(sys.argv[1])


def load(name):
    path = kit / name
    return json.loads(path.read_text()) if path.exists() and path.stat().st_size else None


parts = dict(line.split() for line in (kit / "parts").read_text().splitlines())
tests, measured = {}, []
for log in sorted(kit.glob("*.log")):
    text = log.read_text(errors="replace")
    count = {how.lower(): len(re.findall(rf"^--- {how}: ", text, re.M)) for how in ("PASS", "FAIL", "SKIP")}
    if sum(count.values()):
        tests[log.stem] = count
    measured += re.findall(r"measured: (.*)", text)
out = {
    "machine": torch.cuda.get_device_name(0),
    "libtorch": torch.__version__,
    "cuda": torch.version.cuda,
    "commit": (kit / "commit").read_text().strip(),
    "date": datetime.date.today().isoformat(),
    "passed": set(parts.values()) == {"ok"},
    "parts": parts,
    "tests": tests,
    "measured": measured,
}
report, env = load("report.json"), load("runs/gpu/env.json")
if report:
    out["training"] = {"config": "configs/mnist.yaml with 10, 5 and 4 epochs", "stages": report["stages"], "sparsity": report["sparsity"]["sparsity"]}
if env:
    out["training"] = {**out.get("training", {}), "precision": env.get("precision"), "cuda_graphs": env.get("cuda_graphs")}
if bench := load("bench.json"):
    out["benchmark"] = bench
json.dump(out, sys.stdout, indent=2)
print()
