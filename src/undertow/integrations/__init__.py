"""Hooks into other people's trainers. `undertow.integrations.transformers_hook` needs transformers."""

from undertow.integrations.audit import CanaryAudit, audit_canaries
from undertow.integrations.canaries import CanaryKey, with_canaries
from undertow.integrations.planner import CanaryPlan, plan_canaries
from undertow.integrations.rows import WithCanaries

__all__ = [
    "CanaryAudit",
    "CanaryKey",
    "CanaryPlan",
    "WithCanaries",
    "audit_canaries",
    "plan_canaries",
    "with_canaries",
]
