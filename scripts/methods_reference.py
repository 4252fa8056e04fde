#!/usr/bin/env python3
"""The losses and steps of trainer's methods on a tiny network, by PyTorch in float64.

Written from the papers, apart from rapt, as a second opinion: TRADES (arXiv 1901.08573), MART (Wang et al., ICLR 2020), FGSM-RS
(arXiv 2001.03994), free (arXiv 1904.12843) and AWP (arXiv 2004.05884). The network is linear, ReLU, linear on 12 pixels.

    python3 scripts/methods_reference.py > trainer/testdata/methods.json
"""
import json

import torch
import torch.nn.functional as F

torch.manual_seed(5)
torch.set_default_dtype(torch.float64)
N, PIXELS, HIDDEN, CLASSES, EPSILON = 6, 12, 7, 4, 0.2


def exact(t):
    """Rounded to float32, so that both sides start from the same numbers."""
    return t.float().double()


w1, w2 = exact(torch.randn(HIDDEN, PIXELS)), exact(torch.randn(CLASSES, HIDDEN))
x, y = exact(torch.rand(N, PIXELS)), torch.tensor([0, 3, 1, 2, 2, 0])
x_adv = exact((x + EPSILON * (2 * torch.rand(N, PIXELS) - 1)).clamp(0, 1))
near = exact(x + 0.001 * torch.randn(N, PIXELS))
uniform = exact((x + EPSILON * (2 * torch.rand(N, PIXELS) - 1)).clamp(0, 1))
noise = exact(EPSILON * (2 * torch.rand(N, PIXELS) - 1))
mask1 = (torch.rand(HIDDEN, PIXELS) > 0.4).double()


def net(images, a, b):
    return F.relu(images @ a.T) @ b.T


def pgd_loss(a, b, clean, adv):
    return F.cross_entropy(net(adv, a, b), y)


def trades_loss(a, b, clean, adv, beta=6.0):
    p = F.softmax(net(clean, a, b), dim=1)
    q = F.log_softmax(net(adv, a, b), dim=1)
    return F.cross_entropy(net(clean, a, b), y) + beta * F.kl_div(q, p, reduction="batchmean")


def mart_loss(a, b, clean, adv, beta=5.0):
    p, q = F.softmax(net(clean, a, b), dim=1), F.softmax(net(adv, a, b), dim=1)
    rows = torch.arange(N)
    others = q.clone()
    others[rows, y] = -1
    bce = -torch.log(q[rows, y]) - torch.log(1.0001 - others.max(dim=1).values)
    divergence = (p * (torch.log(p) - torch.log(q))).sum(dim=1)
    return (bce + beta * divergence * (1 - p[rows, y])).mean()


def with_gradients(loss, a=w1, b=w2):
    a, b = a.clone().requires_grad_(True), b.clone().requires_grad_(True)
    value = loss(a, b, x, x_adv)
    ga, gb = torch.autograd.grad(value, [a, b])
    return value.item(), ga, gb


def project(images):
    return torch.min(torch.max(images, x - EPSILON), x + EPSILON).clamp(0, 1)


def trades_attack(start, step, steps):
    target = F.softmax(net(x, w1, w2), dim=1)
    at = start.clone()
    for _ in range(steps):
        at.requires_grad_(True)
        kl = F.kl_div(F.log_softmax(net(at, w1, w2), dim=1), target, reduction="sum")
        at = project(at.detach() + step * torch.autograd.grad(kl, at)[0].sign())
    return at


def fgsm_rs(start):
    at = start.clone().requires_grad_(True)
    g = torch.autograd.grad(F.cross_entropy(net(at, w1, w2), y), at)[0]
    return project(at.detach() + 1.25 * EPSILON * g.sign())


def free_noise():
    delta = noise.clone().requires_grad_(True)
    loss = F.cross_entropy(net((x + delta).clamp(0, 1), w1, w2), y)
    g = torch.autograd.grad(loss, delta)[0]
    return loss.item(), (delta.detach() + EPSILON * g.sign()).clamp(-EPSILON, EPSILON)


def awp(loss, gamma):
    """The gradient where AWP takes it; the first layer is pruned by mask1."""
    a = w1 * mask1
    _, ga, gb = with_gradients(loss, a)
    ga = ga * mask1
    moved = [w + gamma * w.norm() / g.norm() * g for w, g in ((a, ga), (w2, gb))]
    value, ga, gb = with_gradients(loss, *moved)
    return {"w1": moved[0].tolist(), "w2": moved[1].tolist(), "loss": value, "grad1": ga.tolist(), "grad2": gb.tolist()}


out = {"made_with": "torch " + torch.__version__, "epsilon": EPSILON, "w1": w1.tolist(), "w2": w2.tolist(), "mask1": mask1.tolist(), "x": x.tolist(),
       "y": y.tolist(), "x_adv": x_adv.tolist(), "near": near.tolist(), "uniform": uniform.tolist(), "noise": noise.tolist()}
out["losses"], out["awp"] = {}, {}
for name, loss in (("pgd", pgd_loss), ("trades", trades_loss), ("mart", mart_loss)):
    value, g1, g2 = with_gradients(loss)
    out["losses"][name] = {"loss": value, "grad1": g1.tolist(), "grad2": g2.tolist()}
    out["awp"][name] = awp(loss, 0.01)
out["trades_attack"] = trades_attack(near, 0.06, 5).tolist()
out["fgsm_rs"] = fgsm_rs(uniform).tolist()
value, moved = free_noise()
out["free"] = {"loss": value, "noise": moved.tolist()}
print(json.dumps(out, indent=None, separators=(",", ":")))
