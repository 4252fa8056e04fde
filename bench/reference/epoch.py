"""A natural epoch on MNIST in the usual way: torchvision's data set and transforms, and a DataLoader."""
import gzip
import os
import shutil

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms

import models
import steps

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def lay_out(source, root):
    """Puts the IDX files of a folder, plain or gzipped, where torchvision looks for them."""
    raw = os.path.join(root, "MNIST", "raw")
    os.makedirs(raw, exist_ok=True)
    for name in FILES:
        to, plain = os.path.join(raw, name), os.path.join(source, name)
        if os.path.exists(to):
            continue
        if os.path.exists(plain):
            os.symlink(os.path.abspath(plain), to)
        else:
            with gzip.open(plain + ".gz", "rb") as f, open(to, "wb") as out:
                shutil.copyfileobj(f, out)


class Epoch:
    def __init__(self, r, root):
        torch.manual_seed(0)
        lay_out(r["data"], root)
        self.device = torch.device(r.get("device", "cpu"))
        transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
        images = datasets.MNIST(root, train=True, transform=transform)
        if r.get("limit"):
            images = Subset(images, range(r["limit"]))
        self.loader = DataLoader(images, batch_size=r["batch"], shuffle=True, num_workers=r.get("num_workers", 0))
        self.model = models.make(r["arch"], r.get("width", 1))[0].to(self.device)
        self.optimizer = steps.make_optimizer(r.get("optimizer", "adam"), self.model.parameters(), r.get("lr", 1e-3))

    def run(self):
        self.model.train()
        for x, y in self.loader:
            x, y = x.to(self.device), y.to(self.device)
            self.optimizer.zero_grad()
            loss = F.nll_loss(self.model(x), y)
            loss.backward()
            self.optimizer.step()

    def timed(self, repeat):
        return steps.timed(self.run, repeat, self.device)
