"""Opening a checkpoint without executing it: safetensors, torch, NumPy and GGUF files, folders and hub caches.

Content decides what a file is. Pickles are read by a machine of our own that calls nothing, in a process of its own.
"""

from undertow.opening.opened import Limits, Opened, OpenedFile, verdict_of
from undertow.opening.opening import open_checkpoint
from undertow.opening.signature import Signer, check_signature

__all__ = ["Limits", "Opened", "OpenedFile", "Signer", "check_signature", "open_checkpoint", "verdict_of"]
