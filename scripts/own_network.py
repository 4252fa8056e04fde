#!/usr/bin/env python3
"""A PyTorch network that rapt does not know, to be trained by it.

    scripts/own_network.py net.onnx
    rapt import net.onnx --dataset mnist
    rapt run configs/own-network.yaml
    scripts/pytorch_check.py runs/own-network/checkpoints/retrain/best.safetensors --data data/mnist --module scripts/own_network.py:Net

The last line loads what rapt made of it into the class below again, and attacks it by PyTorch. Needs python3 with torch.
"""
import inspect
import sys

import torch
from torch import nn
import torch.nn.functional as F


class Net(nn.Module):
    """A residual block between two strides, for [N, 1, 28, 28] in [0, 1]."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.conv1, self.bn1 = nn.Conv2d(16, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.conv2, self.bn2 = nn.Conv2d(16, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.down = nn.Conv2d(16, 32, 3, 2, 1)
        self.hidden, self.out = nn.Linear(32 * 7 * 7, 64), nn.Linear(64, 10)

    def forward(self, x):
        x = self.stem(x)
        x = F.relu(x + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        x = F.relu(self.down(x)).flatten(1)
        return self.out(F.relu(self.hidden(x)))


if __name__ == "__main__":
    torch.manual_seed(1)
    keep = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}  # batch norms stay as they are
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        keep["dynamo"] = False  # the exporter that needs no package beside torch
    torch.onnx.export(Net().eval(), torch.rand(1, 1, 28, 28), sys.argv[1], **keep)
