"""Every figure and table of the papers that is known of, and what of it can be had here.

The papers' bodies could not be read. An item is listed because its caption, the released code or an index of the paper
names it; where only its existence is known, its status is "not known". No number of a paper's tables is quoted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TMI, WEN, FENG, EXTRACTION = "tmi", "wen", "feng", "extraction"
PAPERS = {
    TMI: "Abascal, Wu, Oprea and Ullman, PoPETs 2024 (arXiv:2306.01181)",
    WEN: "Wen et al., NeurIPS 2024 (arXiv:2404.01231)",
    FENG: "Feng and Tramer, ICML 2024 (arXiv:2404.00473)",
    EXTRACTION: "Zhang et al. 2025 (arXiv:2505.15656)",
}
RUNS, UNKNOWN = "runs", "not known"
SHORT, HOUR, GPU = "10m", "1h", "gpu"


@dataclass(frozen=True)
class Item:
    """One figure, table or claim of a paper."""

    paper: str
    item: str
    about: str
    status: str  # "runs" | "not known" | "needs ..."
    budget: str | None = None  # the smallest that runs it
    needs: str = ""
    audit: str = ""  # which audit plays it
    preset: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)
    released: str = ""  # the published or released setting
    deviation: str = ""  # what differs here, and why

    @property
    def row(self) -> dict[str, Any]:
        """The row of `undertow reproduce --list --json`."""
        return {
            "paper": self.paper, "item": self.item, "status": self.status, "budget": self.budget, "needs": self.needs,
        }  # fmt: skip


SMALL = "Embedded digits and perceptrons instead: the released recipe trains for hours on a GPU."
TMI_RECIPE = "ResNet-34 on CIFAR-100, 64 shadows (+1), 100 epochs; 8 views; head finetuned 35 epochs, SGD lr 0.01"
WEN_RECIPE = "GPT-Neo-125M, 1,000 ai4privacy texts, 500 of them targets, 129 balanced memberships (released code)"
WEN_IMAGES = "CLIP ViT-B-32; target counts and shadow counts are not known"
FENG_DP = "CIFAR-10, 50,000 records, q = 0.01, noise 1, delta 1e-5, epsilon 1 to 8 (released code: a formula, no runs)"
ITEMS = (
    Item(TMI, "figure 2", "named by a request for reproduction; its caption is not known", UNKNOWN),
    Item(TMI, "figure 3", "named by a request for reproduction; its caption is not known", UNKNOWN),
    Item(
        TMI, "figure 4", "scaled confidences of one record, models in and out", "needs a drawing",
        needs="a figure that no audit draws yet: a drawing of single records' scaled confidences",
    ),
    Item(TMI, "figure 5", "named by a request for reproduction; its caption is not known", UNKNOWN),
    Item(
        TMI, "task table", "TMI, adapted LiRA and direct access by downstream task", RUNS, SHORT, audit="tmi",
        preset="digits", released=TMI_RECIPE, deviation=SMALL,
    ),
    Item(
        TMI, "full finetuning", "the same attacks where all layers are finetuned", RUNS, SHORT, audit="tmi",
        preset="digits", changes={"strategy": "full"}, released=TMI_RECIPE + "; which layers: a list, not known",
        deviation=SMALL,
    ),
    Item(
        TMI, "dp finetuning", "the same attacks where the head is finetuned by DP-SGD", RUNS, SHORT, audit="tmi",
        preset="digits", changes={"privacy": {"epsilon": 1.0}},
        released="Opacus, clip 5, epsilon 1 by default; removed from the release", deviation=SMALL + " Clip 1.",
    ),
    Item(TMI, "language tasks", "WikiText-103 to topic classification", "needs data, and an hour", HOUR,
         "--data with WikiText-2 and AG News; run: undertow audit tmi --preset wikitext2-agnews-linear-small"),
    Item(TMI, "cifar task table", "the task table at the released size", "needs a gpu", GPU,
         "one GPU and CIFAR-100; run: undertow audit tmi --preset cifar100-cifar10-linear-paper"),
    Item(
        WEN, "table 1", "poisoned CLIP: TPR at 1 % FPR, AUC, accuracy before and after", RUNS, SHORT, audit="poisoning",
        preset="digits", released=WEN_IMAGES,
        deviation=SMALL + " With CLIP: undertow audit poisoning --preset clip-small --data.",
    ),
    Item(WEN, "table 2", "poisoned GPT-Neo: TPR at 1 % FPR, AUC, validation loss before and after",
         "needs half an hour", HOUR, "30 minutes; run: undertow audit poisoning --preset lm-small"),
    Item(WEN, "table 3", "standard benchmarks of the poisoned GPT-Neo", "needs GPT-Neo-125M and lm-evaluation-harness",
         GPU, "undertow[lm-eval], GPT-Neo-125M and the benchmarks' data"),
    Item(
        WEN, "table 4", "finetuning methods", RUNS, SHORT, audit="poisoning", preset="digits",
        changes={"recipes": ["full", "linear"]},
        released=WEN_RECIPE + "; linear probe on CLIP ViT-B-32; other row names are not in the sources",
        deviation=SMALL,
    ),
    Item(
        WEN, "table 5", "what is seen: 4-bit, 8-bit, top-5, watermark", RUNS, SHORT, audit="poisoning", preset="digits",
        changes={"views": ["exact", "top-5", "int8", "int4"]}, released=WEN_RECIPE,
        deviation=SMALL + " Weights are rounded to nearest; watermarks are of texts only (preset lm-small, --views).",
    ),
    Item(WEN, "figure roc", "ROC curves, linear and logarithmic, ImageNet and ai4Privacy", RUNS, SHORT,
         audit="poisoning", preset="digits", released=WEN_RECIPE, deviation=SMALL),
    Item(WEN, "figure steps", "number of finetuning steps (appendix)", RUNS, SHORT, audit="poisoning",
         preset="digits-epochs", released=WEN_RECIPE, deviation=SMALL),
    Item(WEN, "figure targets", "number of target points (appendix)", RUNS, SHORT, audit="poisoning",
         preset="digits-targets", released=WEN_RECIPE, deviation=SMALL),
    Item(WEN, "figure stealth", "stealth against attack (appendix)", RUNS, SHORT, audit="poisoning",
         preset="digits-weight", released=WEN_RECIPE, deviation=SMALL),
    Item(WEN, "figure models", "several models; which ones is not known", RUNS, SHORT, audit="poisoning",
         preset="digits-size", released="model list not obtained", deviation=SMALL + " Over the width of one model."),
    Item(FENG, "mlp captures", "inputs read out of a perceptron", RUNS, SHORT, audit="datatrap", preset="digits-mlp",
         released="two hidden layers, 64 traps, CIFAR-10, SGD, 20 epochs", deviation=SMALL),
    Item(FENG, "vit captures", "patches read out of a vision transformer", RUNS, SHORT, audit="datatrap", preset="vit",
         released="ViT-B/32, Oxford-Pet, 64 traps, batch 128, 12 epochs", deviation=SMALL),
    Item(FENG, "vit images", "whole images read out of a vision transformer", RUNS, SHORT, audit="datatrap",
         preset="vit-image", released="ViT-B/32, Caltech-101, 32 traps, batch 128, 12 epochs", deviation=SMALL),
    Item(FENG, "bert captures", "texts read out of BERT", "needs a BERT and data", HOUR,
         "model.checkpoint with a BERT, --data with TREC; run: undertow audit datatrap --preset bert"),
    Item(FENG, "dp figure", "empirical against theoretical epsilon", RUNS, SHORT, audit="dp", preset="digits",
         released=FENG_DP, deviation=SMALL + " Real trainings with and without the record, full batches."),
    Item(FENG, "black-box membership", "membership of a chosen record by one query",
         "needs a checkout: python benchmarks/traps_black_box.py", SHORT, "the repository; no command plays it yet"),
    Item(FENG, "black-box read-out", "weights of traps by queries",
         "needs a checkout: python benchmarks/traps_read_out.py", SHORT, "the repository; no command plays it yet"),
    Item(FENG, "tables", "result tables; which there are is not known", UNKNOWN),
    Item(
        EXTRACTION, "coverage", "queries that come out verbatim through a backdoor", RUNS, SHORT, audit="extraction",
        preset="small", released="Qwen2.5 and Llama 3 bases, 5,000 victim chats of Dolly, K = 10 samples a word",
        deviation="A Llama of .7 million weights, 100 chats of a seeded grammar, 30 samples a word: two cores.",
    ),
    Item(EXTRACTION, "openings", "words that open a query, found without knowing them", "needs a measure",
         needs="a test of which opening words are present, which no audit makes yet"),
)  # fmt: skip
