"""Sums the kernels' times in ncu's CSV, most of it first."""
import collections
import csv
import re
import sys

lines = [line for line in open(sys.argv[1], errors="replace") if line.startswith('"')]
time, count = collections.Counter(), collections.Counter()
for row in csv.DictReader(lines):
    if not row.get("Metric Value", "").strip() or row["ID"] == "ID":
        continue
    name = re.sub(r"<.*|\(.*", "", row["Kernel Name"]) + (" [" + m[1] + "]" if (m := re.search(r"(\w+(?:Functor|_kernel_impl|Ops?)\w*)", row["Kernel Name"][20:])) else "")
    scale = {"ns": 1e-3, "nsecond": 1e-3, "us": 1, "usecond": 1, "ms": 1e3, "msecond": 1e3}[row["Metric Unit"]]
    time[name] += float(row["Metric Value"].replace(",", "")) * scale
    count[name] += 1
total = sum(time.values())
print(f"{sum(count.values())} kernels, {total / 1e3:.2f} ms")
for name, us in time.most_common(25):
    print(f"{100 * us / max(total, 1e-9):5.1f} %  {us / 1e3:8.2f} ms  {count[name]:5d}  {name[:140]}")
if not total:
    sys.exit(1)
