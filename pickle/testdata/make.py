"""Writes the pickles of this folder: python3 make.py (Python 3.11 and NumPy 1.24 made those that are here)."""
import collections
import io
import pickle
import struct

import numpy as np

shared = [1, 2]
VALUE = {
    "none": None, "true": True, "false": False, "int": [0, 255, 256, 65536, -1, -129, 2**31, -2**31, 2**40, -2**63, 2**63, -2**70],
    "float": [0.1, -1e300, float("inf")], "str": ["", "plain", "a'b\"c\\d\n\t", "\u00e9\u20ac\U0001f600"], "bytes": [b"", b"\x00\xff\n'", bytes(range(256))],
    "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)], "shared": [shared, shared], ("key", 1): {}, 7: [[]], "long": "x" * 300,
}


class Python2(pickle._Pickler):
    """Writes bytes as Python 2 wrote its str."""
    dispatch = dict(pickle._Pickler.dispatch)

    def save_bytes(self, b):
        self.write(b"U" + bytes([len(b)]) + b if len(b) < 256 else b"T" + struct.pack("<i", len(b)) + b)
        self.memoize(b)

    dispatch[bytes] = save_bytes

    def save_str(self, s):
        self.save_bytes(s.encode())

    dispatch[str] = save_str


def python2(value):
    out = io.BytesIO()
    Python2(out, 2).dump(value)
    return out.getvalue()


def write(name, data):
    with open(name, "wb") as f:
        f.write(data)


for protocol in range(6):
    write(f"plain{protocol}.pkl", pickle.dumps(VALUE, protocol))
    arrays = collections.OrderedDict(
        u8=np.arange(6, dtype=np.uint8).reshape(2, 3), be=np.array([1, 2], dtype=">i4"), f=np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        s=np.float32(0.5), flag=np.array([True, False]))
    write(f"numpy{protocol}.pkl", pickle.dumps(arrays, protocol))
for protocol in range(6):
    write(f"set{protocol}.pkl", pickle.dumps([{1, 2}, frozenset([3])], protocol))
write("batch.pkl", python2({"batch_label": "batch 1", "labels": [3, 9], "data": np.arange(24, dtype=np.uint8).reshape(2, 12), "filenames": ["a.png", "b.png"]}))
