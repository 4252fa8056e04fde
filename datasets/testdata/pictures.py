"""Makes the small images here, beside each NAME the NAME.png that PIL decodes it to, and an archive: python3 pictures.py"""
import io
import os
import tarfile

import numpy as np
from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))


def drawn(w, h):
    """Smooth colours with an edge, which shows how chroma is interpolated."""
    y, x = np.mgrid[0:h, 0:w] / max(w, h)
    a = np.stack([x, y, 1 - x], 2) * 200 + 20
    a[h // 3:2 * h // 3, w // 4:w // 2] = (230, 30, 60)
    return Image.fromarray(a.astype(np.uint8))


def save(name, image, **options):
    path = os.path.join(HERE, name)
    image.save(path, **options)
    with Image.open(path) as back:
        back.convert("L" if back.mode == "L" else "RGB").save(path + ".png")


def main():
    save("444.jpg", drawn(19, 13), quality=95, subsampling=0)
    save("422.jpg", drawn(19, 13), quality=95, subsampling=1)
    save("420.jpg", drawn(19, 13), quality=95, subsampling=2)
    save("420-large.jpg", drawn(48, 40), quality=90, subsampling=2)
    save("420-progressive.jpg", drawn(32, 32), quality=90, subsampling=2, progressive=True)
    save("grey.jpg", drawn(19, 13).convert("L"), quality=95)
    save("cmyk.jpg", drawn(16, 16).convert("CMYK"), quality=95, subsampling=0)
    save("lossless.webp", drawn(19, 13), lossless=True)
    save("lossy.webp", drawn(48, 40), quality=95)
    alpha = drawn(19, 13).convert("RGBA")
    alpha.putalpha(Image.linear_gradient("L").resize((19, 13)))
    save("alpha.png", alpha)
    save("palette.png", drawn(19, 13).quantize(16))
    large = drawn(57, 40)
    large.save(os.path.join(HERE, "57x40.png"))
    for size in (16, 50):  # torchvision's Resize and CenterCrop
        h, w = size, int(size * 57 / 40)
        left = int(round((w - size) / 2.0))
        large.resize((w, h), Image.BILINEAR).crop((left, 0, left + size, size)).save(os.path.join(HERE, f"57x40-{size}.png"))
    pack()


def pack():
    """A folder of images as .tar.xz: of each of two classes four images to train on and two to test, 8 by 8 of one colour."""
    with tarfile.open(os.path.join(HERE, "small.tar.xz"), "w:xz", format=tarfile.GNU_FORMAT) as tar:
        for part, count in (("train", 4), ("test", 2)):
            for label, name in enumerate(("ant", "bee")):
                for i in range(count):
                    data = io.BytesIO()
                    Image.new("RGB", (8, 8), (40 * i, 200 * label, 100 if part == "test" else 0)).save(data, "PNG")
                    info = tarfile.TarInfo(f"{part}/{name}/{i}.png")
                    info.size = data.tell()
                    data.seek(0)
                    tar.addfile(info, data)


if __name__ == "__main__":
    main()
