#!/usr/bin/env python3
"""Make the ONNX models of this folder, with images and what PyTorch computes of them.

    python3 make.py        (written by PyTorch 1.13's torch.onnx.export, and onnx 1.12)

From PyTorch 2.9 on, whose exporter is another one, it makes those named NAME-new instead (written by 2.14, with onnxscript 0.7).
"""
import json
import os

import onnx
import torch
from torch import nn
from torch.nn import functional as F

KEEP = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}  # batch norms stay
OPEN = {"dynamic_axes": {"images": {0: "N"}, "logits": {0: "N"}}}


class Plain(nn.Module):
    """Older code's ways: functional layers, view by the batch's size, dropout, log-softmax."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 5), nn.Conv2d(4, 8, 3, padding=1)
        self.fc1, self.fc2 = nn.Linear(8 * 3 * 3, 16), nn.Linear(16, 5)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.relu(F.max_pool2d(self.conv2(x), 2, 2, 0))
        x = F.relu(self.fc1(x.view(x.size(0), -1)))
        return F.log_softmax(self.fc2(F.dropout(x, training=self.training)), dim=1)


class Block(nn.Module):
    def __init__(self, i, o, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o)
        self.conv2, self.bn2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut = nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


class Residual(nn.Module):
    """Normalises its images, adds, and ends in a mean over the maps."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.2, 0.25, 0.3]).view(1, 3, 1, 1))
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, 1, 1, bias=False), nn.BatchNorm2d(4)
        self.layer1, self.layer2 = Block(4, 4, 1), Block(4, 8, 2)
        self.linear = nn.Linear(8, 5)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1((x - self.mean) / self.std)))
        return self.linear(self.layer2(self.layer1(x)).mean([2, 3]))


class Others(nn.Module):
    """Depthwise, ReLU6, squeeze and excite, split and join, batch norm of a list, a linear layer as a product."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6(),
                                      nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False), nn.BatchNorm2d(8, eps=1e-3), nn.SiLU())
        self.squeeze, self.excite = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)
        self.side = nn.Conv2d(4, 6, 3, padding=2, dilation=2)
        self.fc1, self.norm = nn.Linear(10, 12, bias=False), nn.BatchNorm1d(12)
        self.out, self.shift = nn.Parameter(torch.randn(12, 5) / 4), nn.Parameter(torch.randn(5))

    def forward(self, x):
        x = self.features(x)
        x = x * torch.sigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1)))))
        a, b = x.chunk(2, dim=1)
        x = torch.cat([a, torch.tanh(self.side(b))], 1)
        x = torch.flatten(F.adaptive_avg_pool2d(x, 1), 1)
        return torch.matmul(F.relu(self.norm(self.fc1(x))), self.out) + self.shift


class Dropping(nn.Module):
    """Dropout that is exported, since it alone is in training mode, ReLU6 by its function, and a batch norm of another momentum."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, momentum=0.03)
        self.drop, self.fc = nn.Dropout(0.3), nn.Linear(4, 5)

    def forward(self, x):
        return self.fc(self.drop(F.relu6(self.bn(self.conv(x))).mean([2, 3])))


class Shapes(nn.Module):
    """Dimensions of 1 that come and go, ReLU6 of a sum that others read, and pooling that rounds up where nothing is to be rounded."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.gate, self.fc = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Linear(4, 4), nn.Linear(4, 5)

    def forward(self, x):
        x = F.relu(F.max_pool2d(self.bn(self.conv(x)), 2, ceil_mode=True))
        gate = torch.sigmoid(self.gate(x.mean([2, 3], keepdim=True).squeeze(3).squeeze(2)))
        x = F.relu6(x + x) * gate[:, :, None, None] + x
        return self.fc(F.adaptive_avg_pool2d(x, 1).squeeze(-1).squeeze(-1))


class Hard(nn.Module):
    """MobileNet v3's activations."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.act = nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Hardswish()
        self.gate, self.fc = nn.Conv2d(4, 4, 1), nn.Linear(4, 5)

    def forward(self, x):
        x = self.act(self.bn(self.conv(x)))
        x = x * F.hardsigmoid(self.gate(F.adaptive_avg_pool2d(x, 1)))
        return self.fc(F.hardswish(x).mean([2, 3]))


class Normal(nn.Module):
    """Normalises its images by lists that it shapes itself, and takes channels from the end."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.4, 0.5, 0.6]))
        self.register_buffer("std", torch.tensor([0.2, 0.25, 0.3]))
        self.conv, self.bn, self.fc = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Linear(6, 5)

    def forward(self, x):
        x = F.relu(self.bn(self.conv((x - self.mean.view(1, -1, 1, 1)) / self.std[None, :, None, None])))
        return self.fc(torch.cat([x[:, -2:], x[:, :-2]], 1).mean([2, 3]))


class Refused(nn.Module):
    """What would be another function if it were taken for what rapt has."""

    def __init__(self, how):
        super().__init__()
        self.how, self.conv, self.fc = how, nn.Conv2d(1, 4, 3), nn.Linear(4, 5, bias=False)
        self.weight, self.bias = nn.Parameter(torch.randn(4, 5)), nn.Parameter(torch.randn(5))

    def forward(self, x):
        if self.how == "raw":  # normalised for one reader and not for the other
            return self.fc((self.conv((x - 0.5) / 0.25) + self.conv.bias.view(1, 4, 1, 1).sum() * 0 + F.max_pool2d(x, 3, 1)).mean([2, 3]))
        if self.how == "clone":  # the same by way of a copy
            return self.fc((self.conv((x.clone() - 0.5) / 0.25) + F.max_pool2d(x, 3, 1)).mean([2, 3]))
        if self.how == "reflect":
            return self.fc(self.conv(F.pad(x, (1, 1, 1, 1), "reflect")).mean([2, 3]))
        if self.how == "ones":
            return self.fc(self.conv(F.pad(x, (1, 1, 1, 1), "constant", 1.0)).mean([2, 3]))
        if self.how == "stripes":
            return self.fc(self.conv(x[:, :, ::2]).mean([2, 3]))
        y = self.conv(x).mean([2, 3])
        if self.how == "squeeze":  # of one image the batch's dimension too
            return self.fc(self.conv(x).mean([2, 3], keepdim=True).squeeze())
        if self.how == "least":
            return self.fc(torch.minimum(F.relu(y), torch.tensor(5.0)))
        if self.how == "clamp":
            return self.fc(torch.clamp(y, max=6.0))
        y = torch.matmul(y, self.weight)  # with the bias and without
        return (y + self.bias) * torch.sigmoid(y)


def drawn(make):
    torch.manual_seed(3)
    model = make()
    with torch.no_grad():
        for m in model.modules():  # statistics that are not those of the beginning
            if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)):
                m.running_mean.normal_(0, 0.3)
                m.running_var.uniform_(0.5, 2)
                m.weight.uniform_(0.5, 1.5)
                m.bias.normal_(0, 0.2)
    return model.eval()


def bare(path):
    """Leave out where in which file each operation was written."""
    m = onnx.load(path, load_external_data=False)
    for part in [m, m.graph, *m.graph.node, *m.graph.initializer, *m.graph.value_info, *m.graph.input, *m.graph.output]:
        part.doc_string = ""
        if hasattr(part, "metadata_props"):
            del part.metadata_props[:]
    onnx.save(m, path)


class Padded(nn.Module):
    """Shortcuts without weights: every other pixel, with channels of zeros on both sides (option A of CIFAR's ResNets); and a padding of its own."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 4, 3, 1, 1, bias=False), nn.BatchNorm2d(4)
        self.conv2, self.conv3 = nn.Conv2d(4, 6, 3, 2, 1), nn.Conv2d(6, 8, 3, 1, 1)
        self.conv4, self.linear = nn.Conv2d(8, 4, 3, 2), nn.Linear(4, 5)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        y = self.conv3(F.relu(self.conv2(x)))
        x = F.relu(y + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 3), "constant", 0))
        x = F.relu(self.conv4(F.pad(x, (0, 1, 2, 1))))
        return self.linear(x.mean((2, 3)))


def write(name, make, shape, **options):
    model, x = drawn(make), torch.rand(2, *shape)
    with torch.no_grad():
        y = model(x)
    if hasattr(model, "drop"):
        model.drop.train()
    images = x if "dynamic_shapes" in options else x[:1]
    torch.onnx.export(model, (images,), name + ".onnx", input_names=["images"], output_names=["logits"], **options)
    if "optimize" in options or "external_data" in options:
        bare(name + ".onnx")
    with open(name + ".json", "w") as f:
        json.dump({"images": [round(float(v), 7) for v in x.flatten()], "logits": y.flatten().tolist(), "names": sorted(model.state_dict())}, f)


def newer():
    inside = {"external_data": False, "optimize": False}
    opened = {"dynamic_shapes": {"x": {0: torch.export.Dim("N")}}}
    write("plain-new", Plain, (1, 16, 16), **inside, **opened)
    write("residual-new", Residual, (3, 8, 8), optimize=False)  # its numbers are in a file beside it
    write("residual-new-folded", Residual, (3, 8, 8), external_data=False, **opened)
    write("others-new", Others, (3, 16, 16), **inside)
    write("others-new-open", Others, (3, 16, 16), **inside, **opened)
    write("dropping-new", Dropping, (1, 8, 8), **inside)
    write("shapes-new", Shapes, (1, 8, 8), **inside)
    write("hard-new", Hard, (1, 8, 8), **inside)
    write("normal-new", Normal, (3, 8, 8), **inside)
    write("padded-new", Padded, (1, 9, 7), **inside)
    torch.manual_seed(3)
    for how in ("squeeze", "least", "clone"):
        torch.onnx.export(Refused(how).eval(), (torch.rand(2, 1, 6, 6),), f"refused-{how}-new.onnx", **inside, **opened)
        bare(f"refused-{how}-new.onnx")


def main():
    if tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 9):
        newer()
        return
    for name, make, shape, options in [
        ("plain", Plain, (1, 16, 16), KEEP), ("plain-open", Plain, (1, 16, 16), OPEN), ("residual", Residual, (3, 8, 8), {**KEEP, **OPEN}),
        ("dropping", Dropping, (1, 8, 8), KEEP), ("shapes", Shapes, (1, 8, 8), KEEP), ("hard", Hard, (1, 8, 8), KEEP), ("normal", Normal, (3, 8, 8), KEEP), ("padded", Padded, (1, 9, 7), KEEP), ("padded-open", Padded, (1, 9, 7), {**KEEP, **OPEN}), ("residual-folded", Residual, (3, 8, 8), {}), ("others", Others, (3, 16, 16), KEEP), ("others-open", Others, (3, 16, 16), {**KEEP, **OPEN}),
    ]:
        write(name, make, shape, **options)
    for how in ("raw", "clamp", "twice", "reflect", "ones", "stripes"):
        torch.onnx.export(Refused(how).eval(), torch.rand(1, 1, 6, 6), f"refused-{how}.onnx", input_names=["images"], output_names=["logits"])
    value = lambda name: onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 1, 6, 6])
    alone = onnx.helper.make_graph([onnx.helper.make_node("Min", ["images"], ["logits"])], "alone", [value("images")], [value("logits")])
    onnx.save(onnx.helper.make_model(alone, ir_version=7, opset_imports=[onnx.helper.make_opsetid("", 13)]), "refused-alone.onnx")
    beside = "plain.weights"  # as exporters write large models
    if os.path.exists(beside):
        os.remove(beside)
    onnx.save(onnx.load("plain.onnx"), "plain-beside.onnx", save_as_external_data=True, location=beside, size_threshold=0)


if __name__ == "__main__":
    main()
