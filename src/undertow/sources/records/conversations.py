"""Conversations as texts: `messages`, or `prompt` and `completion`, by the chat template of the model that reads them.

A template is data: it is rendered in Jinja's sandbox, in which no attribute of Python can be reached.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from undertow.types import BadInput

PLAIN = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
ASSISTANT = "assistant"


@dataclass(frozen=True)
class Said:
    """A text, and how many of its first characters are asked, not learnt."""

    text: str
    asked: int = 0


@dataclass(frozen=True)
class Template:
    """How a model writes a conversation; `source` is a Jinja template, `tokens` its special tokens by name."""

    source: str = PLAIN
    tokens: Mapping[str, str] | None = None

    def __call__(self, messages: Sequence[Mapping[str, Any]], answer_next: bool = False) -> str:
        """The conversation as text; BadInput where the template refuses it."""
        from jinja2 import TemplateError
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
        environment.globals["raise_exception"] = _raise
        try:
            template = environment.from_string(self.source)
            return template.render(messages=messages, add_generation_prompt=answer_next, **(self.tokens or {}))
        except (TemplateError, TypeError, ValueError, KeyError, RecursionError) as error:
            said = next(iter(str(error).splitlines()), "") or type(error).__name__
            raise BadInput(f"the model's chat template cannot write this conversation ({said})") from error


def said_in(values: Mapping[str, Any], template: Template | None) -> Said | None:
    """The text of a row that holds a conversation; None where it holds none. BadInput for what is no conversation.

    The loss is of the last answer: what comes before it is asked. Without a template of the model's own, a prompt and
    its completion are joined as they are, and messages are written as `role: content`, one a line.
    """
    if "messages" in values:
        return _of_messages(values["messages"], template or Template())
    if "prompt" not in values or "completion" not in values:
        return None
    prompt, completion = values["prompt"], values["completion"]
    if isinstance(prompt, str) and isinstance(completion, str):
        if template is None:
            return Said(prompt + completion, len(prompt))
        messages = [{"role": "user", "content": prompt}, {"role": ASSISTANT, "content": completion}]
        return _of_messages(messages, template)
    if isinstance(prompt, list) and isinstance(completion, list):
        return _of_messages([*prompt, *completion], template or Template())
    raise BadInput("'prompt' and 'completion' must both be texts, or both lists of messages")


def _of_messages(messages: Any, template: Template) -> Said:
    if not isinstance(messages, list) or not messages:
        raise BadInput("'messages' must be a list of {role, content}, and not empty")
    for one in messages:
        if not isinstance(one, Mapping) or not all(isinstance(one.get(key), str) for key in ("role", "content")):
            raise BadInput(f"a message needs 'role' and 'content', both texts; found {one!s:.60}")
    whole = template(messages)
    if messages[-1]["role"] != ASSISTANT:
        return Said(whole)  # nothing is answered: all of it is learnt
    before = template(messages[:-1], answer_next=True)
    return Said(whole, len(before) if whole.startswith(before) else 0)


def _raise(message: str) -> None:
    raise ValueError(message)
