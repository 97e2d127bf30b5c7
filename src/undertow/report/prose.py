"""The standing text of the page: what the adversary sees in each audit, and how to read the numbers."""

from undertow.types import AuditResult

THREATS = {
    "mia": (
        "The adversary holds a record and its label, queries the finetuned model, and sees its output "
        "scores for every class. It guesses whether the record was in the finetuning data.",
        "It knows the recipe: architecture, pretrained model, hyper-parameters, and a pool of records of "
        "the same kind, from which it finetunes shadow models of its own. It sees no weights, no gradients "
        "and nothing of the audited models' own finetuning data.",
        "This is close to the worst case. An adversary with a worse copy of the recipe or fewer records of "
        "the same kind does worse than the table; the baselines show one with no shadow models at all.",
    ),
    "tmi": (
        "The adversary holds a record and queries only the finetuned model, whose classes are usually not "
        "those of the pretraining task: it sees output scores for the downstream classes. It guesses "
        "whether the record was in the pretraining data (Abascal et al. 2024, arXiv:2306.01181).",
        "It knows the recipe of both stages and holds records like those of both, so that it can pretrain "
        "and finetune shadow models of its own. It never sees the pretrained model, any weights, or the "
        "audited models' own data.",
        "The upper bound breaks this rule on purpose: it queries the pretrained model itself, to tell how "
        "much there was to find before finetuning. It is not an attack that this adversary could run.",
    ),
    "score": (
        "Undertow trained nothing here: it applied its rules to signals that were brought to it. What the "
        "adversary sees is what those signals contain, and the one who made them decided that.",
        "The rules take the membership labels as the truth and every row as one model. If members and "
        "non-members come from different sources or dates, an attack may read the difference instead of "
        "membership; the blind guess is the check for that, and it needs the records' features.",
    ),
}
HOW_TO_READ = (
    (
        "AUC",
        "The chance that a random member scores above a random non-member: 0.5 is guessing, 1 is certainty. "
        "An average over records, so it can hide a few that are fully exposed.",
    ),
    (
        "TPR at an FPR",
        "The share of members found when the threshold accuses the given share of non-members. At a low "
        "rate it counts what an adversary can be sure of. Guessing finds exactly the rate itself.",
    ),
    (
        "Balanced accuracy",
        "Members and non-members weigh the same; 50% is guessing.",
    ),
    (
        "Interval",
        "95%. It resamples the unit given under the table. Records inside one trained model are not "
        "independent trials, so where several models were audited the unit is the model.",
    ),
    (
        "Not resolved",
        "Too few non-members to tell that rate from zero. Unknown is not zero.",
    ),
    (
        "Baselines, bound, blind, control",
        "A baseline needs no shadow models. The upper bound has access that the adversary lacks. The blind "
        "guess and the control have nothing to find: if they find something, the other numbers cannot be "
        "trusted.",
    ),
    (
        "What no number here says",
        "That a model is safe. An attack bounds only itself: a stronger one, more shadow models or more "
        "records may find what these did not. Half of the records are members by design; in the world "
        "members are rarer, and a given false alarm rate then means more false accusations per member "
        "found.",
    ),
)


def threat_model(result: AuditResult) -> tuple[str, ...]:
    """Paragraphs on what the adversary sees and knows."""
    return THREATS.get(result.audit, ("The adversary is described by the configuration of the audit.",))
