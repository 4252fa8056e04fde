"""The networks of arXiv 1903.12561 and of the CIFAR-10 literature, in plain PyTorch."""
import torch.nn as nn
import torch.nn.functional as F


class LeNet(nn.Module):
    """LeNet-5 in Caffe's sizes, 20-50-500-10."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.fc1 = nn.Linear(800, 500)
        self.fc2 = nn.Linear(500, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(x.flatten(1)))
        return F.log_softmax(self.fc2(x), 1)


class LeNetAdv(LeNet):
    """The adversarially trained LeNet, Table 1: 2w, 4w and 64w units."""

    def __init__(self, w):
        nn.Module.__init__(self)
        self.conv1 = nn.Conv2d(1, 2 * w, 5, padding=2)
        self.conv2 = nn.Conv2d(2 * w, 4 * w, 5, padding=2)
        self.fc1 = nn.Linear(196 * w, 64 * w)
        self.fc2 = nn.Linear(64 * w, 10)


class BasicBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet18Adv(nn.Module):
    """ResNet-18 for 32 x 32 images with 4w, 8w, 16w and 32w channels; w = 16 is the usual one."""

    def __init__(self, w):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4 * w, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(4 * w)
        inputs = 4 * w
        for i, stride in enumerate((1, 2, 2, 2)):
            outputs = 4 * w * 2 ** i
            setattr(self, f"layer{i + 1}", nn.Sequential(BasicBlock(inputs, outputs, stride), BasicBlock(outputs, outputs, 1)))
            inputs = outputs
        self.linear = nn.Linear(inputs, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
        return self.linear(F.avg_pool2d(x, 4).flatten(1))


class VGG16(nn.Module):
    """VGG-16 with batch norm and one linear layer, as for CIFAR-10."""

    def __init__(self):
        super().__init__()
        layers, inputs = [], 3
        for outputs in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0):
            if outputs == 0:
                layers.append(nn.MaxPool2d(2))
                continue
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
            inputs = outputs
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(512, 10)

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


def make(arch, width):
    """A network by rapt's name, and the shape of an image."""
    if arch == "lenet":
        return LeNet(), (1, 28, 28)
    if arch == "lenet_adv":
        return LeNetAdv(width), (1, 28, 28)
    if arch == "resnet18_adv":
        return ResNet18Adv(width), (3, 32, 32)
    if arch == "vgg16":
        return VGG16(), (3, 32, 32)
    raise ValueError(f"the reference has no {arch}")
