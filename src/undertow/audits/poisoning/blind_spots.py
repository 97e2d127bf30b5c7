"""What the evidence on a checkpoint cannot see: said with every verdict. Nothing here imports torch."""

BLIND = (
    "A poisoner who never had these records, nor records like them, is not seen: nothing here would leak more.",
    "Canaries of a kind the attacker did not target do not leak more after images were poisoned by maximising the "
    "loss; only the test on your own records sees that.",
    "Without a reference, text poisoned by maximising the loss is not seen: it moves the whole style, look-alikes too.",
)
