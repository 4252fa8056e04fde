"""How fast PyTorch multiplies, convolves and copies."""
import torch
import torch.nn.functional as F


def matmul(r, device):
    n = r.get("n", 2048)
    a, b = torch.rand(n, n, device=device), torch.rand(n, n, device=device)
    return lambda: a @ b


def conv(r, device):
    x, w = torch.rand(64, 64, 32, 32, device=device), torch.rand(64, 64, 3, 3, device=device)
    return lambda: F.conv2d(x, w, padding=1)


def copy(r, device):
    n = r.get("n", 1 << 25)
    a, b = torch.rand(n, device=device), torch.empty(n, device=device)
    return lambda: b.copy_(a)
