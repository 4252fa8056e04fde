"""Joins what bench/gpu.sh left in its folder to one JSON object on standard output."""
import datetime
import json
import pathlib
import sys

import torch

kit, status = pathlib.Path(sys.argv[1]), int(sys.argv[2])
out = {
    "machine": torch.cuda.get_device_name(0),
    "libtorch": torch.__version__,
    "cuda": torch.version.cuda,
    "commit": (kit / "commit").read_text().strip(),
    "date": datetime.date.today().isoformat(),
    "passed": status == 0,
}
report = kit / "report.json"
if report.exists() and report.stat().st_size:
    r = json.loads(report.read_text())
    out["training"] = {"config": "configs/mnist.yaml", "stages": r["stages"], "sparsity": r["sparsity"]["sparsity"]}
json.dump(out, sys.stdout, indent=2)
print()
