"""Decoding a folder of images in the usual way: torchvision's ImageFolder, with PIL as its loader, and a DataLoader."""
import os
import time

import torch
from torch.utils.data import ConcatDataset, DataLoader, Subset
from torchvision import datasets, transforms


class Folder:
    """The images of root/train and root/test as one tensor of bytes in memory."""

    def __init__(self, r):
        self.images = ConcatDataset([datasets.ImageFolder(os.path.join(r["data"], part), transforms.PILToTensor()) for part in ("train", "test")])
        if r.get("limit"):
            self.images = Subset(self.images, range(r["limit"]))
        self.num_workers = r.get("num_workers", 0)

    def run(self):
        loader = DataLoader(self.images, batch_size=256, num_workers=self.num_workers)
        parts = [(x, y) for x, y in loader]
        return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])

    def timed(self, repeat):
        times = []
        for _ in range(repeat):
            began = time.perf_counter()
            self.run()
            times.append(1e3 * (time.perf_counter() - began))
        return times
