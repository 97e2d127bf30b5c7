"""Hooks into other people's trainers. `undertow.integrations.transformers_hook` needs transformers."""

from undertow.integrations.canaries import CanaryAudit, CanaryKey, WithCanaries, audit_canaries, with_canaries

__all__ = ["CanaryAudit", "CanaryKey", "WithCanaries", "audit_canaries", "with_canaries"]
