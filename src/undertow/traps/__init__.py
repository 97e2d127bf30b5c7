"""Data traps: weights that copy single finetuning records into themselves (Feng & Tramer, ICML 2024). NumPy only.

`plant(params, trap)` writes them, `read(before, after, trap)` reads what they hold; a trap comes from `mlp_trap`,
`vit_trap`, `bert_trap` or `gpt2_trap`; `lora_trap` reads dense traps off the factors of LoRA.
"""

from undertow.traps.acceptance import Domain, domain_of
from undertow.traps.baits import Baits, choose_baits
from undertow.traps.capture import Captures, captures
from undertow.traps.dense.lora import LoraCandidates, LoraTrap, lora_trap
from undertow.traps.dense.mlp import MlpTrap, Whisper, mlp_trap
from undertow.traps.plan import best_expected, capture_probability
from undertow.traps.recorder import Candidates, Recorder
from undertow.traps.text.bert import BertTrap, bert_trap
from undertow.traps.text.bert_text import TextCandidates, TextCaptures, text_captures
from undertow.traps.text.gpt2 import DecoderCandidates, Gpt2Trap, gpt2_trap
from undertow.traps.trap import Trap, plant, read
from undertow.traps.vit.room import Room, clear, room_in, scaled
from undertow.traps.vit.trap import VitTrap, vit_trap

__all__ = [
    "Baits", "BertTrap", "Candidates", "Captures", "DecoderCandidates", "Domain", "Gpt2Trap", "LoraCandidates",
    "LoraTrap", "MlpTrap", "Recorder", "Room", "TextCandidates", "TextCaptures", "Trap", "VitTrap", "Whisper",
    "bert_trap", "best_expected", "capture_probability", "captures", "choose_baits", "clear", "domain_of", "gpt2_trap",
    "lora_trap", "mlp_trap", "plant", "read", "room_in", "scaled", "text_captures", "vit_trap",
]  # fmt: skip
