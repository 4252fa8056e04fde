#!/usr/bin/env python3
"""Load a rapt checkpoint into plain PyTorch and measure it.

A second opinion on `rapt eval`: the models are written here as ordinary
nn.Module classes, the weights are loaded by name with strict=True, and the PGD
attack is PyTorch's own autograd. Needs python3 with torch and numpy only.

    scripts/pytorch_check.py RUN/checkpoints/retrain/best.safetensors --data DIR

DIR holds t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, gzip (.gz) or plain.
A network that is not among those goes as TorchScript, which `rapt export CHECKPOINT --out model.pt` writes: then model.pt is the checkpoint.
For other data sets give a file of `rapt predict CHECKPOINT --images --out FILE`
instead, which holds the test images.
Epsilon, step size, number of steps and normalisation are the checkpoint's own
unless they are given. Prints one JSON object; accuracies are fractions.
"""
import argparse
import gzip
import importlib.util
import json
import os
import re
import struct
import sys
from fractions import Fraction

import numpy as np
import torch
from torch import nn
import torch.nn.functional as F


def read_safetensors(path):
    """Returns (state dict, metadata)."""
    types = {"F32": np.float32, "F64": np.float64, "I64": np.int64, "I32": np.int32, "U8": np.uint8, "BOOL": np.bool_}
    with open(path, "rb") as f:
        blob = f.read()
    (n,) = struct.unpack("<Q", blob[:8])
    header = json.loads(blob[8 : 8 + n])
    meta = header.pop("__metadata__", {})
    state = {}
    for name, t in header.items():
        begin, end = (8 + n + o for o in t["data_offsets"])
        a = np.frombuffer(blob[begin:end], types[t["dtype"]]).reshape(t["shape"])
        state[name] = torch.from_numpy(a.copy())
    return state, meta


class LeNet(nn.Module):
    """The MNIST LeNets. Returns log-probabilities of [N, 1, 28, 28] images in [0, 1]."""

    def __init__(self, c1, c2, hidden, padding, batch_norm, classes=10):
        super().__init__()
        side = 7 if padding else 4
        self.conv1 = nn.Conv2d(1, c1, 5, padding=padding)
        self.conv2 = nn.Conv2d(c1, c2, 5, padding=padding)
        self.fc1 = nn.Linear(c2 * side * side, hidden)
        self.fc2 = nn.Linear(hidden, classes)
        self.batch_norm = batch_norm
        if batch_norm:
            self.conv1_bn = nn.BatchNorm2d(c1)
            self.conv2_bn = nn.BatchNorm2d(c2)
            self.fc1_bn = nn.BatchNorm1d(hidden)

    def forward(self, x):
        norm = lambda name, x: getattr(self, name)(x) if self.batch_norm else x
        x = F.max_pool2d(F.relu(norm("conv1_bn", self.conv1(x))), 2)
        x = F.max_pool2d(F.relu(norm("conv2_bn", self.conv2(x))), 2)
        x = F.relu(norm("fc1_bn", self.fc1(x.flatten(1))))
        return F.log_softmax(self.fc2(x), 1)


class Block(nn.Module):
    """A residual block of ResNet-18: two 3x3 convolutions, with c_mid channels between them, and a shortcut."""

    def __init__(self, c_in, c_mid, c_out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_mid, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_mid)
        self.conv2 = nn.Conv2d(c_mid, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.shortcut = nn.Sequential()
        if stride != 1 or c_in != c_out:
            self.shortcut = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


class ResNet18(nn.Module):
    """ResNet-18 for 32x32 images, of the sizes that the state dict has. Returns logits."""

    def __init__(self, state):
        super().__init__()
        channels = lambda name: state[f"{name}.weight"].shape[0]
        c = channels("conv1")
        self.conv1 = nn.Conv2d(3, c, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c)
        for i in range(1, 5):
            blocks = []
            for j in range(2):
                mid, out = channels(f"layer{i}.{j}.conv1"), channels(f"layer{i}.{j}.conv2")
                blocks.append(Block(c, mid, out, 2 if i > 1 and j == 0 else 1))
                c = out
            setattr(self, f"layer{i}", nn.Sequential(*blocks))
        self.linear = nn.Linear(c, channels("linear"))

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.linear(F.avg_pool2d(x, 4).flatten(1))


def build(arch, state):
    """Makes the model of the checkpoint's shapes: those of a width, or those that rapt compact left."""
    if arch in ("resnet18", "resnet18_adv"):
        return ResNet18(state)
    if arch in ("lenet", "lenet_bn", "lenet_adv"):
        c1, c2, hidden, classes = (state[f"{name}.weight"].shape[0] for name in ("conv1", "conv2", "fc1", "fc2"))
        return LeNet(c1, c2, hidden, 2 if arch == "lenet_adv" else 0, arch == "lenet_bn", classes)
    sys.exit(f"pytorch_check: no architecture {arch!r} here; give --arch lenet, lenet_bn, lenet_adv, resnet18 or resnet18_adv")


class Normalised(nn.Module):
    """A model that sees (pixels - mean) / std, as its checkpoint says by channel."""

    def __init__(self, model, meta):
        super().__init__()
        self.model = model
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor([float(v) for v in meta[name].split(",")]).view(1, -1, 1, 1))

    def forward(self, x):
        return self.model((x - self.mean) / self.std)


def own(module, state):
    """Makes the class CLASS of FILE.py:CLASS, a network of the user's, with the checkpoint's tensors. Its own buffers, such as a mean, stay."""
    path, _, name = module.rpartition(":")
    spec = importlib.util.spec_from_file_location("own_network", path)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    model = getattr(made, name)()
    lacks, beyond = model.load_state_dict(state, strict=False)
    if beyond or set(lacks) & dict(model.named_parameters()).keys():
        sys.exit(f"pytorch_check: {module} and the checkpoint are two networks: it lacks {beyond}, the checkpoint {lacks}")
    return model


def load(path, arch=None, module=None):
    """Returns the checkpoint's model in evaluation mode, its metadata and the state dict."""
    if path.endswith((".pt", ".pth")):
        extra = {"metadata.json": ""}
        model = torch.jit.load(path, _extra_files=extra)  # normalises by itself
        for q in model.parameters():
            q.requires_grad_(False)
        return model, json.loads(extra["metadata.json"]), model.state_dict()
    state, meta = read_safetensors(path)
    if module:
        return own(module, state).eval().requires_grad_(False), meta, state
    model = build(arch or meta.get("arch", ""), state)
    model.load_state_dict(state, strict=True)
    for q in model.parameters():
        q.requires_grad_(False)
    return (Normalised(model, meta) if "mean" in meta else model).eval(), meta, state


def attack_of(meta, a):
    """The PGD that was asked for: epsilon, step size, steps. What was not is the checkpoint's first PGD's, or MNIST's usual one."""
    if meta.get("norm", "Linf") != "Linf":
        sys.exit(f"pytorch_check: the checkpoint's norm is {meta['norm']}; only Linf is here")
    own = re.search(r"pgd-(\d+)=([^,]+)", f"{meta.get('attacks', '')},{meta.get('adversary', '')}")
    steps, step = (int(own[1]), float(own[2])) if own else (40, 0.01)
    return a.eps or float(meta.get("epsilon", 0.3)), a.step or step, a.steps or steps


def number(text):
    """0.3 or 8/255."""
    return float(Fraction(text))


def read_idx(folder, name):
    for path, opener in ((os.path.join(folder, name + ".gz"), gzip.open), (os.path.join(folder, name), open)):
        if os.path.exists(path):
            with opener(path, "rb") as f:
                blob = f.read()
            dims = struct.unpack(f">{blob[3]}I", blob[4 : 4 + 4 * blob[3]])
            return np.frombuffer(blob, np.uint8, offset=4 + 4 * blob[3]).reshape(dims)
    sys.exit(f"pytorch_check: {folder} holds neither {name}.gz nor {name}")


def read_test(where):
    """Returns (images [N, C, H, W] in [0, 1], labels [N]) of a folder of MNIST or a file of rapt predict --images."""
    if os.path.isfile(where):
        state, _ = read_safetensors(where)
        return state["images"], state["labels"]
    images = torch.from_numpy(read_idx(where, "t10k-images-idx3-ubyte").astype(np.float32) / 255).unsqueeze(1)
    return images, torch.from_numpy(read_idx(where, "t10k-labels-idx1-ubyte").astype(np.int64))


def pgd(model, x, y, eps, step, steps, generator):
    """Linf projected gradient ascent on the cross-entropy from a random start."""
    delta = (torch.rand(x.shape, generator=generator) * 2 - 1) * eps
    adv = (x + delta).clamp(0, 1)
    for _ in range(steps):
        adv.requires_grad_(True)
        loss = F.cross_entropy(model(adv), y, reduction="sum")
        (grad,) = torch.autograd.grad(loss, adv)
        with torch.no_grad():
            adv = adv + step * grad.sign()
            adv = torch.min(torch.max(adv, x - eps), x + eps).clamp(0, 1)
    return adv.detach()


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("checkpoint")
    p.add_argument("--data", required=True, help="folder with the MNIST test files, or a file of rapt predict --images")
    p.add_argument("--arch", help="lenet, lenet_bn, lenet_adv, resnet18 or resnet18_adv; default: what the checkpoint says")
    p.add_argument("--module", help="FILE.py:CLASS, of a network of your own")
    p.add_argument("--eps", type=number, help="such as 0.3 or 8/255")
    p.add_argument("--step", type=number)
    p.add_argument("--steps", type=int)
    p.add_argument("--limit", type=int, default=0, help="only the first so many images")
    p.add_argument("--batch", type=int, default=500)
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--seed", type=int, default=0)
    a = p.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)

    model, meta, state = load(a.checkpoint, a.arch, a.module)
    eps, step, steps = attack_of(meta, a)

    images, labels = read_test(a.data)
    n = min(a.limit or len(labels), len(labels))
    generator = torch.Generator().manual_seed(a.seed)
    clean = robust = 0
    for i in range(0, n, a.batch):
        x, y = images[i : min(i + a.batch, n)], labels[i : min(i + a.batch, n)]
        with torch.no_grad():
            clean += int((model(x).argmax(1) == y).sum())
        adv = pgd(model, x, y, eps, step, steps, generator)
        assert (adv - x).abs().max() <= eps + 1e-6 and adv.min() >= 0 and adv.max() <= 1
        with torch.no_grad():
            robust += int((model(adv).argmax(1) == y).sum())

    weights = [v for k, v in state.items() if k.endswith("weight") and v.dim() > 1]
    zeros = sum(int((v == 0).sum()) for v in weights)
    print(json.dumps({
        "torch": torch.__version__, "arch": a.arch or meta.get("arch", ""), "examples": n,
        "parameters": sum(q.numel() for q in model.parameters()),
        "sparsity": zeros / sum(v.numel() for v in weights),
        "clean_accuracy": clean / n,
        "robust_accuracy": {f"pgd-{steps}": robust / n},
        "eps": eps, "step": step,
    }))


if __name__ == "__main__":
    main()
