"""Audit your own training: a random forest of scikit-learn on its breast cancer records.

    python examples/own_training_sklearn.py

Undertow runs `train` on 16 random halves of the records, in complementary pairs, and attacks each model by the others.
With out="folder" the answers of finished models are kept there, and the same call resumes after any interruption.
"""

from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier

import undertow as ut


def train(records, seed):
    forest = RandomForestClassifier(30, random_state=seed).fit(records.x, records.y)
    return forest.predict_proba


if __name__ == "__main__":
    result = ut.audit_mia(train=train, records=load_breast_cancer(return_X_y=True), shadows=16)
    print(ut.summary(result))
