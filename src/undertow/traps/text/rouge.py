"""How alike two texts are: ROUGE-L (Lin 2004), the F1 of the longest common subsequence."""

from collections.abc import Sequence


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the longest sequence that both contain in its order, gaps allowed.

    >>> common([1, 2, 3, 4], [2, 9, 4, 1])
    2
    """
    row = [0] * (len(other) + 1)
    for a in one:
        before = row
        row = [0]
        for j, b in enumerate(other):
            row.append(before[j] + 1 if a == b else max(before[j + 1], row[j]))
    return row[-1]


def rouge_l(read: Sequence[int], true: Sequence[int]) -> float:
    """F1 of precision (of the tokens read) and recall (of the true ones) of their longest common subsequence; 0 to 1.

    >>> rouge_l([1, 2, 3, 4], [2, 3]), rouge_l([], [1])
    (0.6666666666666666, 0.0)
    """
    return 2 * common(read, true) / (len(read) + len(true)) if len(read) and len(true) else 0.0
