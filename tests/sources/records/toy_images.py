"""Small image datasets as files."""

import io

import numpy as np

from undertow.rng import stream


def pictures(count, size=8, channels=3, seed=0):
    """Random images, (N, H, W[, 3]) uint8."""
    shape = (count, size, size, 3) if channels == 3 else (count, size, size)
    return stream(seed, "pictures").integers(0, 256, shape, dtype=np.uint8)


def png(pixels):
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_parquet(path, x, struct=True, **columns):
    """As the hub keeps them, a struct of bytes and path; or plain bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    raw = [png(one) for one in x]
    cells = [{"bytes": b, "path": None} for b in raw] if struct else raw
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"img" if struct else "image": cells, **columns}), path)
