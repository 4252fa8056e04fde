"""Irregular projection and the ADMM update as in the code released with arXiv 1903.12561: numpy's percentile."""
import numpy as np
import torch


def project(weight, ratio):
    """Zeroes what is smaller than the ratio's percentile of the magnitudes."""
    w = weight.cpu().detach().numpy()
    magnitude = np.abs(w)
    w[magnitude < np.percentile(magnitude, ratio * 100)] = 0
    return torch.from_numpy(w)


class Pruning:
    """The weights of a network of the given shapes."""

    def __init__(self, r):
        torch.manual_seed(0)
        self.ratio = r["ratio"]
        self.weights = [torch.randn(shape) for shape in r["shapes"]]
        self.z = [project(w.clone(), self.ratio) for w in self.weights]
        self.u = [torch.zeros_like(w) for w in self.weights]

    def fresh(self):
        return [w.clone() for w in self.weights]

    def projection(self, weights):
        for w in weights:
            project(w, self.ratio)

    def update(self):
        """Z and U move, and the residuals are read."""
        for i, w in enumerate(self.weights):
            before = self.z[i]
            self.z[i] = project(w + self.u[i], self.ratio)
            torch.sqrt(torch.sum((w - self.z[i]) ** 2)).item()
            torch.sqrt(torch.sum((self.z[i] - before) ** 2)).item()
            self.u[i] = w - self.z[i] + self.u[i]
