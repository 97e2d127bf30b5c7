"""Records to finetune on where the user gives none: nobody's, so that what a unit copies of them harms nobody.

A trap fires on few natural records, perhaps on no made-up one; so for units of the first layer records are made that
fire them, which whoever owns the weights can do.
"""

import numpy as np

from undertow.types import Array

FACTORS = 8  # directions in which smooth records vary
MARGIN = 0.05  # how far towards what fires a unit most, beyond its threshold, at most
CLASSES = 10
WORDS = 24  # different ones of a made-up text, at most


def perceptron_records(weight: Array, bias: Array, each: int, rng: np.random.Generator) -> Array:
    """(N, D) float32 in 0..1: for each unit of z = W x + b that can fire, `each` records on which it just does."""
    made = []
    for w, b in zip(np.tile(weight, (each, 1)).astype(np.float64), np.tile(bias, each), strict=True):
        most = (w > 0).astype(np.float64)  # of all records in 0..1, what fires the unit most
        start = rng.random() * rng.random(len(w))
        low, high = w @ start + b, w @ most + b
        if high > 0:
            onset = max(0.0, -low / (high - low)) if low <= 0 else 0.0
            along = onset + (1 - onset) * MARGIN * rng.random() if low <= 0 else 0.0
            made.append(start + along * (most - start))
    rng.shuffle(made)
    return np.array(made, np.float32).reshape(-1, weight.shape[1])


def image_records(shape: tuple[int, ...], count: int, rng: np.random.Generator) -> Array:
    """(count, C, H, W) float32 of mean 0 and deviation 1: blurs over fine grain, as pictures have both."""
    channels, height, width = shape
    waves = np.hypot(*np.meshgrid(np.fft.fftfreq(height), np.fft.fftfreq(width), indexing="ij"))
    waves[0, 0] = waves.flat[1]
    power = rng.uniform(0.5, 2.0, (count, 1, 1, 1))  # of natural images it is about 1
    noise = np.fft.fft2(rng.standard_normal((count, 1, height, width)) + 0.3 * rng.standard_normal((count, *shape)))
    x = np.fft.ifft2(noise / waves**power).real
    spread = x.std((1, 2, 3), keepdims=True) / rng.uniform(0.5, 1.5, (count, 1, 1, 1))
    light = rng.normal(0, 0.5, (count, channels, 1, 1))
    images: Array = (x / spread + light).astype(np.float32)
    return images


def text_records(words: int, length: int, count: int, rng: np.random.Generator) -> Array:
    """(count, length) int64 token ids below `words`: each text draws from 1 to WORDS of them.

    The fewer, the further a text's mean lies from that of all: a threshold on it is passed by some texts, not by all.
    """
    kinds = np.exp(rng.uniform(0, np.log(WORDS + 1), (count, 1))).astype(np.int64)
    topics = rng.integers(min(1000, words // 2), words, (count, WORDS))
    picked = np.take_along_axis(topics, (rng.random((count, length)) * kinds).astype(np.int64), 1)
    return picked.astype(np.int64)
