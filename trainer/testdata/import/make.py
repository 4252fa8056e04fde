"""Writes this folder's PyTorch checkpoints and what PyTorch makes of them: python3 make.py (PyTorch 1.13 made those that are here)."""
import collections
import json

import torch
import torch.nn as nn
import torch.nn.functional as F


class LeNetAdv(nn.Module):
    def __init__(self, w):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 2 * w, 5, padding=2), nn.Conv2d(2 * w, 4 * w, 5, padding=2)
        self.fc1, self.fc2 = nn.Linear(196 * w, 64 * w), nn.Linear(64 * w, 10)

    def forward(self, x):
        for conv in (self.conv1, self.conv2):
            x = F.max_pool2d(F.relu(conv(x)), 2)
        return F.log_softmax(self.fc2(F.relu(self.fc1(x.flatten(1)))), 1)


class Block(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False), nn.BatchNorm2d(cout)
        self.conv2, self.bn2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False), nn.BatchNorm2d(cout)
        self.shortcut = nn.Sequential()
        if stride != 1 or cin != cout:
            self.shortcut = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x):
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + self.shortcut(x))


class ResNet18Adv(nn.Module):
    def __init__(self, w):
        super().__init__()
        c = 4 * w
        self.conv1, self.bn1 = nn.Conv2d(3, c, 3, 1, 1, bias=False), nn.BatchNorm2d(c)
        for i in range(4):
            cin = c if i == 0 else c << (i - 1)
            setattr(self, f"layer{i + 1}", nn.Sequential(Block(cin, c << i, 1 if i == 0 else 2), Block(c << i, c << i, 1)))
        self.linear = nn.Linear(8 * c, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
        return self.linear(F.avg_pool2d(x, 4).flatten(1))


def images(*shape):
    """The images of the reference vectors' rule: splitmix64 of the place, in [0, 1)."""
    n = 1
    for s in shape:
        n *= s
    mask, out = (1 << 64) - 1, []
    for i in range(n):
        z = ((1000 << 32) + i + 0x9E3779B97F4A7C15) & mask
        z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ z >> 27) * 0x94D049BB133111EB) & mask
        out.append((z ^ z >> 31) >> 40)
    return (torch.tensor(out, dtype=torch.float64) / (1 << 24)).float().reshape(shape)


torch.manual_seed(11)
logits = {}
for name, net, shape in (("lenet_adv", LeNetAdv(2), (3, 1, 28, 28)), ("resnet18_adv", ResNet18Adv(1), (3, 3, 32, 32))):
    net.train()
    for _ in range(3):  # running statistics that are not the first ones
        net(torch.rand(16, *shape[1:]))
    with torch.no_grad():
        for p in net.parameters():
            p += 0.1 * torch.randn_like(p)
        logits[name] = net.eval()(images(*shape)).tolist()
    # As the original's scripts save: DataParallel(AttackPGD(net)), or a checkpoint with more in it.
    state = collections.OrderedDict(("module.basic_model." + k, v) for k, v in net.state_dict().items())
    if name == "lenet_adv":
        torch.save(state, "lenet_adv.pt")
    else:  # as before PyTorch 0.4.1, without batch norm's counters
        state = collections.OrderedDict((k, v) for k, v in state.items() if not k.endswith("num_batches_tracked"))
        torch.save({"epoch": 1, "state_dict": state, "best_acc1": torch.tensor(12.5)}, "resnet18_adv.pth.tar", _use_new_zipfile_serialization=False)
with open("logits.json", "w") as f:
    json.dump(logits, f)
