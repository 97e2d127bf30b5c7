"""How a data-trap audit is read."""

from undertow.report.datatrap.page import cards, page
from undertow.report.datatrap.text import summary
from undertow.report.datatrap.verdict import verdict
from undertow.report.reading import Reading

READING = Reading(verdict, cards, summary, lambda result, pictures: page(result, pictures.gallery))
