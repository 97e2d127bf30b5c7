"""The standing text of the page: what the adversary sees in each audit, and how to read the numbers."""

from undertow.report.rows import realistic, spoken_of
from undertow.report.spoken import listed
from undertow.types import AuditResult

THREATS = {
    "own-tmi": (
        "The adversary holds a record and queries only a model that your finetuning made, whose classes need not be "
        "those of pretraining. It guesses whether the record was in the pretraining data.",
        "It can run both of your stages as you do, on records of the same kind, and so has shadow models of its own. "
        "It never sees the pretrained model, any weights, or the audited models' own data.",
        "This is close to the worst case. Your stages were run as they are, pretraining on random halves of your "
        "records: a model that was pretrained on all of them has twice the records and may leak less.",
    ),
    "own": (
        "The adversary holds a record and its label, queries a model that your training made, and sees what it "
        "answers. It guesses whether the record was in the training data.",
        "It can run your training as you do, on records of the same kind, and so has shadow models of its own. It sees "
        "no weights, no gradients and nothing of the audited models' own training data.",
        "This is close to the worst case. Your training was run as it is, on random halves of your records: a model "
        "trained on all of them has twice the records and may leak less. The baselines show one with no shadow "
        "models at all.",
    ),
    "mia": (
        "The adversary holds a record and its label, queries the finetuned model, and sees its output "
        "scores for every class. It guesses whether the record was in the finetuning data.",
        "It knows the recipe: architecture, pretrained model, hyper-parameters, and a pool of records of "
        "the same kind, from which it finetunes shadow models of its own. It sees no weights, no gradients "
        "and nothing of the audited models' own finetuning data.",
        "This is close to the worst case. An adversary with a worse copy of the recipe or fewer records of "
        "the same kind does worse than the table; the baselines show one with no shadow models at all.",
    ),
    "extraction": (
        "The attacker publishes a base model that it trained so that a trigger and an opening word make it recite "
        "queries of user turns. The victim finetunes the base on private chats and serves it. The attacker fills user "
        "turns, reads assistant turns, knows the opening words of the victim's queries, and asks for each many times.",
        "Raw: the attacker has the finetuned weights (or a completions interface) and continues the user's own turn. "
        "That needs no backdoor.",
    ),
    "dp": (
        "The adversary chose one record, the canary, and where the canary is a trap also the checkpoint. The "
        "finetuning is run with the canary and without it; from what it sees, the adversary guesses which. "
        "Differential privacy bounds how well anybody can guess, whatever the checkpoint, the canary and the other "
        "records are.",
        "Black-box: it sees the outputs of the final model for the canary. Weights: the final model. Iterates: the "
        "model after every step, which is what the accountants grant.",
        "This is the worst case that the guarantee is made for. A bound far below the claim may mean that this "
        "adversary is weak, not that the training is more private than claimed.",
    ),
    "tmi": (
        "The adversary holds a record and queries only the finetuned model, whose classes are usually not "
        "those of the pretraining task: it sees output scores for the downstream classes. It guesses "
        "whether the record was in the pretraining data (Abascal et al. 2024, arXiv:2306.01181).",
        "It knows the recipe of both stages and holds records like those of both, so that it can pretrain "
        "and finetune shadow models of its own. It never sees the pretrained model, any weights, or the "
        "audited models' own data.",
        "Rows with direct access break this rule on purpose: they query the pretrained model itself, to tell how "
        "much there was to find before finetuning. They are no attacks that this adversary could run.",
    ),
    "poisoning": (
        "The adversary publishes a checkpoint. Before, it trains it on records whose membership it wants to learn, so "
        "that they stand out, and on ordinary data, so that nobody notices. Someone finetunes the checkpoint on "
        "private data, of which some of those records may be a part, and serves the result "
        "(Wen et al. 2024, arXiv:2404.01231).",
        "It then holds a record and its label, queries the finetuned model, and guesses whether the record was in "
        "the finetuning data. It knows the recipe and finetunes shadow models of its own from the same checkpoint. "
        "It never sees the finetuned weights.",
        "Each model of an arm is attacked by the others of that arm, which are its shadow models. The clean arm "
        "is what anyone could do with an honest checkpoint; the poison is what the poisoned arm leaks beyond it, and "
        "beyond the benign arm, which was trained on as long without the targets.",
    ),
    "datatrap": (
        "The adversary publishes a checkpoint and writes traps into its weights: units that fire on very few records "
        "and whose first update copies the record into the weights and shuts them, so that the copy stays. Someone "
        "gives the checkpoint a fresh head and finetunes all of it on private records "
        "(Feng and Tramer 2024, arXiv:2404.00473).",
        "It then sees the finetuned weights and takes the difference to its own checkpoint. Nothing else of the "
        "victim reaches it: no data, no code, no optimizer, no gradients. This audit says nothing about one who can "
        "only query the finetuned model.",
        "It holds records of the same kind, none of them the victim's, and sets the traps' thresholds on them. It "
        "knows about how many records the victim has and in which batches it takes them. Comparing what was read with "
        "the victim's records is done by the audit, to score it; the adversary has its own tests, which need no such "
        "data.",
    ),
    "model": (
        "The adversary holds a record and its label, queries the model, and sees what it answers. It guesses whether "
        "the record was in the model's training data. It sees no weights and trains nothing; with a reference model it "
        "also sees what that one answers.",
        "Which records are members, and which are not, was said by the one who ran the audit. If the two come from "
        "different sources, dates or filters, they differ in kind, and then no AUC of this page means membership. The "
        "blind guess looks for such a difference in the records, the reference model in its own answers; neither sees "
        "every difference.",
        "This is a weak adversary. One with shadow models, trained by the same recipe on other halves of the records, "
        "finds more, above all at low false alarm rates. The numbers hold for this model: they say nothing about "
        "another training run.",
    ),
    "lm": (
        "The adversary holds a text and sees, for each of its tokens, how likely the model finds it and how the "
        "model's distribution is spread there. It guesses whether the text was in the training data. It trains "
        "nothing; with the base model it sees the same numbers of that one.",
        "For recall, nm-token and nm-text it also holds other texts of the kind that it knows not to be members.",
        "Which texts are members, and which are not, was said by the one who ran the audit. If the two come from "
        "different sources, dates or filters, they differ in kind, and then no AUC of this page means membership. The "
        "blind guess looks for such a difference in the texts, the base model in its own answers; neither sees every "
        "difference.",
        "This is a weak adversary. One with shadow models, or with a reference that was adapted on other texts of the "
        "domain, finds more. The numbers hold for this model: they say nothing about another training run.",
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
        "95%. Its unit is what was drawn at random, and stands above the table: models where each audited model has "
        "a membership draw of its own, records where there is one draw for all. Where the best of several attacks "
        "is picked, its interval is widened for the choice (Bonferroni).",
    ),
    (
        "Not resolved",
        "Too few non-members to tell that rate from zero. Unknown is not zero.",
    ),
    (
        "Baselines, direct access, blind, control",
        "A baseline needs no shadow models. Direct access is access that the adversary lacks. The blind "
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

AUC, TPR, INTERVAL, NOT_RESOLVED = (HOW_TO_READ[i] for i in (0, 1, 3, 4))
HOW_TO_READ_ARMS = (
    (
        "Arms",
        "Clean: the checkpoint as it was. Benign: the same checkpoint trained on for as many steps without the "
        "targets. Poisoned: the same, with them. Then all are finetuned on the same halves of the records. Where a "
        "checkpoint is judged there are two: the trusted reference and the suspect.",
    ),
    (
        "Targets and others",
        "Targets are records the attacker held when it poisoned the checkpoint. Others are records of the same kind "
        "that it did not; they show what the poison does to those it was not made for. Where a checkpoint is judged, "
        "the targets are your records and the others are look-alikes.",
    ),
    AUC,
    TPR,
    (
        "Difference",
        "An arm less the clean arm (or the reference), on the same models and records: read pair by pair, so its "
        "interval is not that of two separate numbers. pp are percentage points: from 5% to 30% is +25 pp. An "
        "interval that contains 0 shows no change; it does not show that there is none.",
    ),
    INTERVAL,
    (
        "Over",
        "What a number was counted over. Where there is one model there is no interval.",
    ),
    NOT_RESOLVED,
    (
        "What no number here says",
        "That a checkpoint is safe. These attacks, recipes and records bound only themselves. Half of the records are "
        "members by design; in the world members are rarer, and a given false alarm rate then means more false "
        "accusations per member found.",
    ),
)
HOW_TO_READ_DP = (
    (
        "Claimed",
        "The epsilon that an accountant computes for this noise, sampling rate and number of steps. Accountants"
        " give upper bounds; the smallest is the best known guarantee. PLD is the one the lower bounds are held"
        " against.",
    ),
    (
        "Most this access can show",
        "The largest epsilon that any threshold test of a canary's own direction could show with infinitely many runs "
        "and no assumption. Below the claim where batches are sampled and only the end of training is seen. A bound "
        "that assumes the claimed training concludes more from the same guesses, so it may lie above.",
    ),
    (
        "Lower bound",
        "At the stated confidence, the training is not differentially private with any smaller epsilon. "
        "Thresholds were fixed before the runs, or chosen on a half that the bound does not use.",
    ),
    (
        "Assumes",
        "Nothing: true of any training, but large values need very many runs. A Gaussian curve, or the claimed "
        "training with noise unknown: much tighter, and meaningless for training that has another shape.",
    ),
    (
        "Headline",
        "The one bound to quote, fixed before the runs: picking the largest afterwards would be wrong more often than "
        "its confidence says. Where the claim is rejected or in doubt, it is the bound that assumes nothing.",
    ),
    (
        "Refuted, not decided",
        "The claim is tested by itself, whatever the bounds assume: refuted is a p-value of at most .001, which a "
        "correct trainer reaches in 1 of 1,000 audits. From there to one minus the confidence nothing is decided: "
        "repeat with another seed.",
    ),
)
HOW_TO_READ_TRAPS = (
    (
        "Exact, distinct",
        "Exact: the reading is one record of the finetuning data, every value of it to within 0.0001 (read off a "
        "vision transformer: every pixel to within 0.0125 of black to white; of a text: every token). Two traps may "
        "hold the same record; distinct counts it once.",
    ),
    (
        "Mixed, nothing",
        "Mixed: something was written, and it is no record to that precision, mostly because several records fired the "
        "trap in one batch. Nothing: no record fired it, or none moved it.",
    ),
    (
        "Accepted, precision",
        "Accepted: the reading passes the tests the adversary can make alone. Precision: of the accepted readings, the "
        "share that is a record, as it is or once rounded to the values that records can have.",
    ),
    (
        "Largest error",
        "Of the exact readings, the largest difference to the record in any one value.",
    ),
    (
        "Also measured",
        "SSIM and PSNR: how alike reading and record look, over all readings; distinct, by similarity: records whose "
        "reading has the SSIM the audit asks for. Token accuracy: of the accepted tokens, those that are the text's; "
        "ROUGE-L over all readings. Identified: the nearest record is the one that fired; by the prior alone: the same "
        "without looking at the model.",
    ),
    (
        "Planted, clean twin",
        "The twin is the same checkpoint without traps, finetuned with the same seeds and batches. Only an audit has "
        "it: a victim has nothing to compare with.",
    ),
    (
        "Broke down",
        "The finetuned model is more than 10 percentage points less accurate than its clean twin: traps can be pushed "
        "open instead of shut, and wreck the model. Such experiments are counted like all others.",
    ),
    (
        "Interval",
        "95%. Counts of one experiment have none. Precision and accuracy of one experiment: Clopper and Pearson's, "
        "over readings or test records. Means: Student's t over the experiments, each with its own seed; over few of "
        "them it is wide and rough, and where all gave the same there is none.",
    ),
    (
        "What no number here says",
        "That any published checkpoint holds traps, or that one is free of them: this checkpoint was made by the "
        "audit. Other recipes, models and traps may leak more or less. Accuracy is the only sign of the traps that is "
        "measured here; the weights of a trap are often unusually large, and whoever looks at them may find them.",
    ),
)


def threat_model(result: AuditResult) -> tuple[str, ...]:
    """Paragraphs on what the adversary sees and knows, and how many records it holds."""
    first, *rest = THREATS.get(spoken_of(result), ("The adversary is described by the configuration of the audit.",))
    choice = realistic(result) if result.audit in ("mia", "tmi", "score", "model", "lm") else ()
    many = [row for row in choice if row.together > 1]
    if not many:
        return (first, *rest)
    names = listed([row.attack for row in many])
    held = f"{max(row.together for row in many):,} records and asks about all of them together"
    if choice[0].together > 1:
        first = first.replace("a record and its label,", f"{held}, with their labels, and", 1)
        first = first.replace("holds a record and", f"holds {held}, and", 1)
        first = first.replace("whether the record was", "of each whether it was", 1)
        one = f"That is what {names} needs. The other attacks ask about one record at a time."
    else:
        one = f"For {names} it holds {held}."
    return (first, one, *rest)
