"""What loaders would execute or import because a configuration says so: rules with codes, and who checks them."""

from undertow.opening.loaders.check import check_loaders, keep_text
from undertow.scanner.rules import RULES, Rule, by_code, by_kind, code_of, documentation

__all__ = ["RULES", "Rule", "by_code", "by_kind", "check_loaders", "code_of", "documentation", "keep_text"]
