"""Hooks into other people's trainers, and `predict` of their models for `undertow.audit_model`.

`undertow.integrations.transformers_hook` needs transformers. The functions of `predict`, `served` and `model_files`
import a library where one of its models is given.
"""

from undertow.integrations.audit import CanaryAudit, audit_canaries
from undertow.integrations.canaries import CanaryKey, with_canaries
from undertow.integrations.likelihood import from_causal_lm
from undertow.integrations.model_files import from_folder, from_onnx
from undertow.integrations.planner import CanaryPlan, plan_canaries
from undertow.integrations.predict import (
    from_keras,
    from_lightgbm,
    from_pipeline,
    from_sklearn,
    from_torch,
    from_trainer,
    from_transformers,
    from_xgboost,
)
from undertow.integrations.rows import WithCanaries
from undertow.integrations.served import Asking, from_url

__all__ = [
    "Asking",
    "CanaryAudit",
    "CanaryKey",
    "CanaryPlan",
    "WithCanaries",
    "audit_canaries",
    "from_causal_lm",
    "from_folder",
    "from_keras",
    "from_lightgbm",
    "from_onnx",
    "from_pipeline",
    "from_sklearn",
    "from_torch",
    "from_trainer",
    "from_transformers",
    "from_url",
    "from_xgboost",
    "plan_canaries",
    "with_canaries",
]
