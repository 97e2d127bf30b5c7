"""How a DP audit is read."""

from undertow.report.dp.page import cards, page
from undertow.report.dp.text import summary
from undertow.report.dp.verdict import verdict
from undertow.report.reading import Reading

READING = Reading(verdict, cards, summary, lambda result, _: page(result))
