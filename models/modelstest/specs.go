package modelstest

import "rapt/models"

var small = [3]int64{3, 8, 8}

// EveryKind are networks of every operation, on the smallest images that they take.
var EveryKind = []models.Spec{
	{Arch: "lenet_adv", Width: 2},
	{Arch: "lenet_bn"},
	{Arch: "lenet", Input: [3]int64{3, 32, 32}},
	{Arch: "vgg16_ori_adv", Width: 1},
	{Arch: "resnet18_1by16", Mean: []float64{0.4, 0.5, 0.6}, Std: []float64{0.2, 0.25, 0.3}},
	{Arch: "resnet18_adv", Width: 1, Channels: map[string]int64{"layer1.0.conv1": 3}},
	{Arch: "preact_resnet18", Input: small},
	{Arch: "wrn_28_4", Input: small},
	{Arch: "resnext29_2x64d", Input: small},
	{Arch: "dpn26", Input: small},
	{Arch: "senet18", Input: small},
	{Arch: "googlenet", Input: small},
	{Arch: "densenet_cifar", Input: small},
	{Arch: "pnasneta", Input: small},
	{Arch: "mobilenet", Input: small},
	{Arch: "mobilenetv2", Input: small},
	{Arch: "shufflenetg2", Input: small},
	{Arch: "shufflenetv2_0.5", Input: small},
}
