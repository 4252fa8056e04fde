"""Writes the PyTorch checkpoints of this folder: python3 make.py (PyTorch 1.13 and Python 3.11 made those that are here)."""
import collections
import io
import json
import pickle
import zipfile

import torch
import torch._utils


def tensors():
    torch.manual_seed(5)
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    return collections.OrderedDict(
        f64=torch.tensor([0.1, -2.5], dtype=torch.float64), f32=torch.tensor([0.1, 3e38]), f16=torch.tensor([0.1, -65504, 6e-8, 0], dtype=torch.float16),
        bf16=torch.tensor([0.1, -3e38], dtype=torch.bfloat16), i64=torch.tensor([-5, 2**40]), i32=torch.tensor([-7, 2**31 - 1], dtype=torch.int32),
        i16=torch.tensor([-300, 300], dtype=torch.int16), i8=torch.tensor([-128, 127], dtype=torch.int8), u8=torch.tensor([0, 255], dtype=torch.uint8),
        flag=torch.tensor([True, False]), scalar=torch.tensor(7), empty=torch.zeros(0, 3), parameter=torch.nn.Parameter(torch.tensor([[1.5]])),
        base=base, transposed=base.t(), slice=base[1:3, 1:6:2], permuted=torch.arange(24).reshape(2, 3, 4).permute(2, 0, 1).float().contiguous().permute(1, 2, 0))


def rezip(name, out, change, compression=zipfile.ZIP_STORED):
    """Copies a zip, letting change(inner name, bytes) replace or drop (None) each file."""
    with zipfile.ZipFile(name) as z, zipfile.ZipFile(out, "w", compression) as o:
        for i in z.infolist():
            b = change(i.filename, z.read(i))
            if b is not None:
                o.writestr(i.filename, b)


def swapped(t):
    """The storage's bytes with the high byte first."""
    size = t.element_size()
    b = t.numpy().tobytes()
    return b"".join(b[i:i + size][::-1] for i in range(0, len(b), size))


def rebuild_tensor_v3():
    pass


class Untyped:
    """What newer versions of PyTorch write for types that have no storage of their own: bytes, and the type beside them."""

    def __init__(self, data, dtype, shape):
        self.data, self.dtype, self.shape = data, dtype, shape

    def __reduce__(self):
        return torch._utils._rebuild_tensor_v3, (self.data, 0, self.shape, (1,), False, collections.OrderedDict(), self.dtype)


def untyped(out):
    rebuild_tensor_v3.__module__, rebuild_tensor_v3.__qualname__ = "torch._utils", "_rebuild_tensor_v3"
    torch._utils._rebuild_tensor_v3 = rebuild_tensor_v3
    torch.storage.UntypedStorage = type("UntypedStorage", (), {"__module__": "torch.storage"})
    data = torch.tensor([1.0, 2.0, -0.5], dtype=torch.float16).numpy().tobytes()
    marker = object()

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            return ("storage", torch.storage.UntypedStorage, "0", "cpu", len(data)) if obj is marker else None

    body = io.BytesIO()
    Pickler(body, 2).dump({"w": Untyped(marker, torch.float16, (3,))})
    with zipfile.ZipFile(out, "w") as z:
        z.writestr("untyped/data.pkl", body.getvalue())
        z.writestr("untyped/byteorder", "little")
        z.writestr("untyped/data/0", data)


small = tensors()
torch.save(small, "all.pt")
torch.save(small, "all_legacy.pt", _use_new_zipfile_serialization=False)
torch.save(small, "all_protocol4.pt", pickle_protocol=4)
torch.save(small, "all_legacy_protocol4.pt", pickle_protocol=4, _use_new_zipfile_serialization=False)
with open("all.json", "w") as f:
    json.dump({k: {"shape": list(v.shape), "values": [float(x) for x in v.detach().double().flatten()]} for k, v in small.items()}, f)

one = collections.OrderedDict(a=torch.tensor([1.0, -2.0]), b=torch.tensor([3, -4], dtype=torch.int16))
torch.save(one, "one.pt")
storages = {"0": swapped(one["a"]), "1": swapped(one["b"])}
rezip("one.pt", "one_big.pt", lambda n, b: storages.get(n.rsplit("/", 1)[-1], b))
with zipfile.ZipFile("one_big.pt", "a") as z:
    z.writestr("one/byteorder", "big")
rezip("one.pt", "one_deflated.pt", lambda n, b: b, zipfile.ZIP_DEFLATED)
untyped("untyped.pt")

net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
net(torch.randn(4, 2)).sum().backward()
optimizer = torch.optim.Adam(net.parameters())
optimizer.step()
state = {"module.basic_model." + k: v for k, v in net.state_dict().items()}
torch.save({"epoch": 3, "arch": "lenet", "state_dict": state, "best_acc": 0.5, "optimizer": optimizer.state_dict()}, "wrapped.pt")
torch.save({"net": net.state_dict(), "acc": torch.tensor(0.5), "scheduler": collections.Counter([3, 5])}, "net.pt")
torch.save(net, "whole.pt")
