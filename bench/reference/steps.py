"""Training steps as they are usually written in PyTorch."""
import contextlib
import time

import torch
import torch.nn.functional as F

import models


def pgd(forward, x, y, steps, epsilon, step_size):
    """Projected gradient ascent from a random start (Madry et al., arXiv 1706.06083)."""
    adv = (x + torch.empty_like(x).uniform_(-epsilon, epsilon)).clamp(0, 1)
    for _ in range(steps):
        adv = adv.detach().requires_grad_(True)
        loss = F.cross_entropy(forward(adv), y, reduction="sum")
        gradient, = torch.autograd.grad(loss, [adv])
        adv = adv.detach() + step_size * gradient.sign()
        adv = torch.min(torch.max(adv, x - epsilon), x + epsilon).clamp(0, 1)
    return adv.detach()


def make_optimizer(name, parameters, lr):
    if name == "adam":
        return torch.optim.Adam(parameters, lr)
    return torch.optim.SGD(parameters, lr, momentum=0.9)


class Trainer:
    """A model, its optimizer and one batch that it is trained on again and again."""

    def __init__(self, r):
        torch.manual_seed(0)
        device = torch.device(r.get("device", "cpu"))
        self.model, shape = models.make(r["arch"], r.get("width", 1))
        self.model.to(device)
        self.x = torch.rand(r["batch"], *shape, device=device)
        self.y = torch.randint(0, 10, (r["batch"],), device=device)
        self.attack = (r.get("attack_steps", 0), r.get("epsilon", 0), r.get("step_size", 0))
        self.device = device
        self._vary(r.get("variant", "eager").split("-"))
        self.optimizer = make_optimizer(r.get("optimizer", "adam"), self.model.parameters(), r.get("lr", 1e-3))

    def _vary(self, words):
        """eager, or some of tf32, bf16 (autocast), cl (channels last) and compile, joined by hyphens."""
        self.forward, self.precision, self.freeze, self.tf32 = self.model, contextlib.nullcontext, False, "tf32" in words
        if "bf16" in words:
            self.precision = lambda: torch.autocast(self.device.type, torch.bfloat16)
        if "cl" in words:
            self.model.to(memory_format=torch.channels_last)
            self.x = self.x.contiguous(memory_format=torch.channels_last)
        if "compile" in words:
            if not hasattr(torch, "compile"):
                raise RuntimeError(f"PyTorch {torch.__version__} has no torch.compile")
            self.forward, self.freeze = torch.compile(self.model), True

    def step(self):
        x = self.x
        if self.attack[0] > 0:
            self.model.eval()
            self._require(False)
            with self.precision():
                x = pgd(self.forward, x, self.y, *self.attack)
            self._require(True)
        self.model.train()
        with self.precision():
            loss = F.cross_entropy(self.forward(x), self.y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss

    def _require(self, on):
        # A compiled backward pass computes every gradient that could be asked for, so nothing but the images' may be.
        if self.freeze:
            self.model.requires_grad_(on)

    def timed(self, repeat):
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = self.tf32
        torch.backends.cudnn.benchmark = True
        return timed(self.step, repeat, self.device)


def timed(f, repeat, device=torch.device("cpu")):
    """Milliseconds of each call, the device's work included."""
    out = []
    for _ in range(repeat):
        synchronize(device)
        began = time.perf_counter()
        f()
        synchronize(device)
        out.append(1e3 * (time.perf_counter() - began))
    return out


def synchronize(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)
