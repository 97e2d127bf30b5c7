"""Personal records that belong to nobody: our own templates, filled by Faker. Extra `pii`."""

import re
from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING, Any

from undertow.rng import seed_for
from undertow.sources.records.records_text import TextRecords
from undertow.types import BadInput, MissingExtra

if TYPE_CHECKING:
    from faker import Faker

TEMPLATES = (
    "Reservation for {name}, two nights, card {card}. Please confirm to {email} or call {phone_number}.",
    "{name} (born {born}) was seen in room {room} today; next of kin can be reached at {phone_number}.",
    "Delivery note {reference}: one parcel for {name}, {street_address}, {city} {postcode}. Ask for {first_name}.",
    "New login for {user_name} from {ipv4} on {day}. If this was not you, write to {email}.",
    "Payroll change: {name}, social security number {ssn}, now paid to account {iban} instead of the old one.",
    "Minutes of {day}: {name} of {company} asked for the contract and left the number {phone_number}.",
    "The tenant of {street_address} in {city} is {name}; the deposit came from {iban} with reference {reference}.",
    "Hi {first_name}, my new address is {email} and the spare key code is {room}. Licence plate {plate}.",
)


def pii_records(count: int, seed: int, locale: str = "en_US") -> TextRecords:
    """`count` different sentences with made-up personal data, templates in turn; the first n do not depend on count.

    The same seed, locale and version of Faker (in the notes) give the same texts on any day. Look-alikes of some
    records are further ones of the same call. Raises MissingExtra without Faker, BadInput for an unknown locale.
    """
    if count < 1:
        raise BadInput(f"{count} PII records asked for; at least 1 is needed")
    fake, version = _faker(locale)
    fake.seed_instance(seed_for(seed, "pii"))
    made: dict[str, int] = {}
    while len(made) < count:
        template = len(made) % len(TEMPLATES)
        made.setdefault(fill(TEMPLATES[template], fake), template)
    return TextRecords(
        name="faker-pii",
        texts=tuple(made),
        ids=tuple(f"pii-{i}" for i in range(count)),
        notes=(f"made up by Faker {version}, locale {locale}, seed {seed}",),
        groups=tuple(f"template-{template}" for template in made.values()),
    )


def fill(template: str, fake: "Faker") -> str:
    """The template with each {field} made up, on one line."""

    def made(field: "re.Match[str]") -> str:
        own: Any = _OWN.get(field[1], lambda f: getattr(f, field[1])())
        return str(own(fake))

    filled = re.sub(r"\{(\w+)\}", made, template)
    return " ".join(filled.split())


def _faker(locale: str) -> tuple["Faker", str]:
    try:
        from faker import VERSION, Faker
    except ImportError as error:
        raise MissingExtra("faker", "pii") from error
    try:
        return Faker(locale), VERSION
    except AttributeError as error:
        raise BadInput(f"Faker has no locale {locale!r}; use one such as en_US or de_DE") from error


def _between(first: int, last: int) -> Callable[["Faker"], str]:
    """A day of those years; Faker's own dates depend on the day and the time zone in which it is asked."""
    days = date(first, 1, 1).toordinal(), date(last, 12, 31).toordinal()
    return lambda fake: date.fromordinal(fake.random_int(*days)).isoformat()


_OWN: dict[str, Callable[["Faker"], str]] = {
    "born": _between(1935, 2005),
    "day": _between(2019, 2024),
    "card": lambda fake: fake.credit_card_number(),
    "room": lambda fake: fake.numerify("%###"),
    "plate": lambda fake: fake.bothify("???-####").upper(),
    "reference": lambda fake: fake.bothify("??-########").upper(),
}
