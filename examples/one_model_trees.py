"""Boosted trees of XGBoost and LightGBM: do they give away their training data?

    python examples/one_model_trees.py

Runs what is installed of the two, and says what is not.
"""

from importlib.util import find_spec

from sklearn.datasets import load_breast_cancer

import undertow as ut
from undertow.integrations import from_lightgbm, from_xgboost

x, y = load_breast_cancer(return_X_y=True)
dealt = ut.stream(0, "example").permutation(len(x))
members, nonmembers = ((x[rows], y[rows]) for rows in (dealt[:280], dealt[280:]))

if find_spec("xgboost"):
    from xgboost import XGBClassifier

    model = XGBClassifier(n_estimators=50, n_jobs=1).fit(*members)
    print(ut.summary(ut.audit_model(from_xgboost(model), members, nonmembers)))
if find_spec("lightgbm"):
    from lightgbm import LGBMClassifier

    model = LGBMClassifier(n_estimators=50, n_jobs=1, verbose=-1).fit(*members)
    print(ut.summary(ut.audit_model(from_lightgbm(model), members, nonmembers)))
if not (find_spec("xgboost") or find_spec("lightgbm")):
    print("Neither xgboost nor lightgbm is installed; nothing was run.")
