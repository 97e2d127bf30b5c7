"""How a poisoning audit is read."""

from undertow.report.poisoning.page import cards, page
from undertow.report.poisoning.text import summary
from undertow.report.poisoning.verdict import verdict
from undertow.report.reading import Reading

READING = Reading(verdict, cards, summary, lambda result, _: page(result))
