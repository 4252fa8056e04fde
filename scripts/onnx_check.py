#!/usr/bin/env python3
"""Run a model of `rapt export` by onnxruntime and compare it with `rapt predict`.

    rapt export RUN --out model.onnx
    rapt predict RUN --images --out logits.safetensors
    scripts/onnx_check.py model.onnx logits.safetensors

Needs python3 with onnxruntime and numpy (Debian 13: python3-onnxruntime). Prints
one JSON object, and exits with 3 where the logits differ by more than 1e-4 of
the largest.
"""
import argparse
import json
import struct
import sys

import numpy as np
import onnxruntime


def read(path):
    """The arrays of a safetensors file of float32 and int64, by name."""
    types = {"F32": np.float32, "I64": np.int64}
    with open(path, "rb") as f:
        blob = f.read()
    (n,) = struct.unpack("<Q", blob[:8])
    header = json.loads(blob[8 : 8 + n])
    header.pop("__metadata__", None)
    return {k: np.frombuffer(blob[8 + n :][slice(*v["data_offsets"])], types[v["dtype"]]).reshape(v["shape"]) for k, v in header.items()}


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("model")
    p.add_argument("logits", help="a file of rapt predict --images")
    p.add_argument("--batch", type=int, default=100)
    a = p.parse_args()
    data = read(a.logits)
    if "images" not in data:
        sys.exit(f"onnx_check: {a.logits} holds no images; rapt predict --images writes them")
    session = onnxruntime.InferenceSession(a.model, providers=["CPUExecutionProvider"])
    batches = [data["images"][i : i + a.batch] for i in range(0, len(data["images"]), a.batch)]
    logits = np.concatenate([session.run(["logits"], {"images": x})[0] for x in batches])
    off, largest = float(np.abs(logits - data["logits"]).max()), float(np.abs(data["logits"]).max())
    print(json.dumps({
        "onnxruntime": onnxruntime.__version__, "images": len(logits),
        "clean_accuracy": float((logits.argmax(1) == data["labels"]).mean()),
        "same_class": int((logits.argmax(1) == data["logits"].argmax(1)).sum()),
        "largest_difference": off,
    }))
    sys.exit(3 if off > 1e-4 * largest else 0)


if __name__ == "__main__":
    main()
