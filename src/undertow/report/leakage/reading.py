"""How a membership audit is read (mia, tmi, score, one model)."""

from undertow.report.leakage.page import cards, page
from undertow.report.leakage.text import summary
from undertow.report.reading import Reading
from undertow.report.verdict import verdict

READING = Reading(verdict, cards, summary, lambda result, pictures: page(result, pictures.records))
