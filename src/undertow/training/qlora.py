"""The frozen base of QLoRA (Dettmers et al. 2023, arXiv:2305.14314): weights in 4-bit NormalFloat, and back.

Updates are trained beside what a 4-bit layer multiplies by, so the weights can be rounded beforehand and everything
else is LoRA. The 4-bit memory is not saved here; the numbers are the same.
"""

import warnings
from typing import Any

import torch
from torch import nn

from undertow.models.layers import dense_matrices
from undertow.types import MissingExtra, Params

BLOCK = 64  # values that share a scale; the scales themselves are rounded to 8 bits (double quantisation)


def rounded_nf4(module: nn.Module, head: str, state: Params) -> Params:
    """`state` whose dense layers, but for the head, hold what bitsandbytes' Linear4bit (nf4) multiplies by.

    Raises MissingExtra without bitsandbytes.
    """
    quantize, dequantize = _bitsandbytes()
    out = dict(state)
    for name, transposed in dense_matrices(module, head).items():
        weight = torch.as_tensor(state[name])
        rows = (weight.T if transposed else weight).contiguous()
        codes, scales = quantize(rows, blocksize=BLOCK, compress_statistics=True, quant_type="nf4")
        back = dequantize(codes, scales)
        out[name] = (back.T if transposed else back).contiguous().numpy()
    return out


def _bitsandbytes() -> tuple[Any, Any]:
    try:
        with warnings.catch_warnings():  # of what it calls in torch, at import
            warnings.simplefilter("ignore")
            from bitsandbytes.functional import dequantize_4bit, quantize_4bit
    except ImportError as error:
        raise MissingExtra("bitsandbytes", "qlora") from error
    return quantize_4bit, dequantize_4bit
