"""A model behind an address that answers JSON: asked in batches, slowly, again where it failed, and never twice.

Request: POST {"inputs": [record, ...]}; a record is a list of numbers (nested for images), a text, or an object.
Answer: {"outputs": [[number per class], ...]}, one entry per record in the same order; `predictions`,
`probabilities`, `logits` or `scores` instead of `outputs`, or the bare list, do as well. An entry may be one number
(a score, higher = member) or a list of {"label", "score"} with every class.
"""

import hashlib
import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import numpy as np

from undertow.storage.answers_file import AnswersFile
from undertow.types import Array, BadInput

AUTHORIZATION = "UNDERTOW_AUTHORIZATION"  # environment: the value of the header Authorization
KEYS = ("outputs", "predictions", "probabilities", "logits", "scores")
AGAIN = (408, 425, 429, 500, 502, 503, 504)
LARGEST = 64 << 20  # bytes of one answer
LONGEST = 60.0  # seconds that a server may ask us to wait


@dataclass(frozen=True)
class Asking:
    """How an address is asked."""

    batch: int = 32  # records per request
    rate: float = 10.0  # requests per second, at most
    timeout: float = 30.0  # seconds for one request
    tries: int = 5
    wait: float = 0.5  # seconds before the second try; doubled each time


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The header with the key goes to the address that was named and nowhere else."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        raise BadInput(f"{_shown(req.full_url)} redirects to {_shown(newurl)}; give that address if you trust it")


@dataclass(eq=False)
class Served:
    """The state of one conversation."""

    url: str
    how: Asking
    answers: AnswersFile | None
    sleep: Callable[[float], None] = time.sleep
    last: float = 0.0
    classes: tuple[str, ...] | None = None  # the label of each column, where the answers say it
    sha256: str = ""  # of a model behind an address no file is known

    @property
    def about(self) -> str:
        """What it is, for people; keys that an address may hold are left out."""
        return f"the model at {_shown(self.url)}, known by its answers"

    def __call__(self, x: Any) -> Any:
        """What the server answers about each record, cached answers first."""
        asked = [_plain(one) for one in x]
        keys = [hashlib.sha256(json.dumps([_shown(self.url), one]).encode()).hexdigest() for one in asked]
        held: dict[str, Any] = {} if self.answers is None else self.answers.held
        new = [i for i, key in enumerate(keys) if key not in held and keys.index(key) == i]
        found: dict[str, Any] = {}
        for start in range(0, len(new), self.how.batch):
            rows = new[start : start + self.how.batch]
            fresh = dict(zip([keys[i] for i in rows], self._batch([asked[i] for i in rows]), strict=True))
            found |= fresh
            if self.answers is not None:
                self.answers.add(fresh)
        entries = [found[key] if key in found else held[key] for key in keys]
        if isinstance(entries[0], list) and entries[0] and isinstance(entries[0][0], dict):
            self.classes, answers = _labelled(entries, _shown(self.url))
            return answers
        return _numbers(entries, _shown(self.url))

    def _batch(self, records: list[Any]) -> list[Any]:
        body = self._post(json.dumps({"inputs": records}).encode())
        where = _shown(self.url)
        try:
            said = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise BadInput(f"{where} did not answer JSON but {body[:60].decode('utf8', 'replace')!r}") from error
        if isinstance(said, dict):
            key = next((key for key in KEYS if key in said), None)
            if key is None:
                held = ", ".join(list(said)[:5]) or "nothing"
                raise BadInput(f"{where} answered an object with {held}; it must hold `outputs`, one entry per record")
            said = said[key]
        if not isinstance(said, list):
            raise BadInput(f"{where} answered {type(said).__name__}; it must answer a list, one entry per record")
        if len(said) != len(records):
            raise BadInput(f"{where} was asked about {len(records)} records and answered for {len(said)}")
        return said

    def _post(self, body: bytes) -> bytes:
        where, why = _shown(self.url), ""
        for tried in range(self.how.tries):
            self._pace()
            wait = self.how.wait * 2**tried
            try:
                with _opener(self.url).open(_request(self.url, body), timeout=self.how.timeout) as answer:
                    return _whole(answer, where)
            except urllib.error.HTTPError as error:
                said = error.read(200).decode("utf8", "replace").strip().replace("\n", " ")
                why = f"HTTP {error.code}{f' ({said:.100})' if said else ''}"
                if error.code not in AGAIN:
                    raise BadInput(f"{where} answered {why}{_hint(error.code)}") from error
                wait = max(wait, _retry_after(error.headers.get("Retry-After")))
            except TimeoutError:
                why = f"no answer within {self.how.timeout:g} s"
            except (urllib.error.URLError, ConnectionError, OSError) as error:
                reason = getattr(error, "reason", error)
                late = isinstance(reason, TimeoutError)
                why = f"no answer within {self.how.timeout:g} s" if late else f"{reason}"
            if tried + 1 < self.how.tries:
                self.sleep(wait)
        raise BadInput(
            f"{where}: {why}, {self.how.tries} times; what was answered is kept, the same command asks the rest"
        )

    def _pace(self) -> None:
        rest = self.last + 1 / self.how.rate - time.monotonic()
        if rest > 0:
            self.sleep(rest)
        self.last = time.monotonic()


def from_url(url: str, how: Asking | None = None, answers: AnswersFile | None = None) -> Served:
    """`predict` of a model behind an http(s) address; `answers` keeps what was answered. BadInput for no address.

    The environment variable UNDERTOW_AUTHORIZATION, where it is set, is sent as the header Authorization.
    """
    how, parts = how or Asking(), urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadInput(f"{_shown(url)} is no http or https address")
    if parts.username or parts.password:
        raise BadInput(f"{_shown(url)}: put what authorises you into the environment variable {AUTHORIZATION}")
    if how.batch < 1 or how.rate <= 0 or how.timeout <= 0 or how.tries < 1:
        raise BadInput("an address is asked with a batch and tries of at least 1, and a rate and timeout above 0")
    return Served(url, how, answers)


def _request(url: str, body: bytes) -> urllib.request.Request:
    headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "undertow"}
    if key := os.environ.get(AUTHORIZATION):
        headers["Authorization"] = key
    return urllib.request.Request(url, data=body, headers=headers, method="POST")


def _opener(url: str) -> urllib.request.OpenerDirector:
    local = urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")
    return urllib.request.build_opener(_NoRedirect, *([urllib.request.ProxyHandler({})] if local else []))


def _whole(answer: Any, where: str) -> bytes:
    raw: bytes = answer.read(LARGEST + 1)
    if len(raw) > LARGEST:
        raise BadInput(
            f"{where} answered more than {LARGEST >> 20} MiB to one request; ask in smaller batches (--batch)"
        )
    return raw


def _hint(code: int) -> str:
    if code in (401, 403):
        return f"; put the value of the header Authorization into the environment variable {AUTHORIZATION}"
    if code == 413:
        return "; ask in smaller batches (--batch)"
    if code in (400, 422):
        return '; it is sent {"inputs": [record, ...]}'
    return "; check the address" if code in (404, 405, 410) else ""


def _retry_after(said: str | None) -> float:
    try:
        return min(float(said or 0), LONGEST)
    except ValueError:
        return 0.0


def _shown(url: str) -> str:
    """An address without user, password, query and fragment: they may hold keys."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return urlunsplit((parts.scheme, f"{host}:{parts.port}" if parts.port else host, parts.path, "", ""))


def _plain(record: Any) -> Any:
    """A record as JSON can hold it."""
    if isinstance(record, np.ndarray | np.generic):
        return record.tolist()
    if isinstance(record, dict):
        return {str(key): _plain(value) for key, value in record.items()}
    return record


def _numbers(entries: list[Any], where: str) -> Array:
    try:
        return np.array(entries, float)
    except (ValueError, TypeError) as error:
        some = json.dumps(entries[0])
        raise BadInput(f"{where} answers {some:.60} for a record; a list with a number per class is needed") from error


def _labelled(entries: list[Any], where: str) -> tuple[tuple[str, ...], Array]:
    """Lists of {"label", "score"}: the labels in the order of their numbers or letters, and a column for each."""
    try:
        tables = [{str(one["label"]): float(one["score"]) for one in entry} for entry in entries]
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{where} answers objects without `label` and `score`: {json.dumps(entries[0]):.60}") from error
    labels = sorted(tables[0], key=_natural)
    if any(set(table) != set(labels) for table in tables):
        raise BadInput(f"{where} does not answer for the same classes each time; ask it for all of them (top_k)")
    return tuple(labels), np.array([[table[label] for label in labels] for table in tables])


def _natural(label: str) -> list[Any]:
    """LABEL_2 before LABEL_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", label)]
