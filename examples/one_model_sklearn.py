"""A random forest that was trained elsewhere: does it give away who was in its training data?

    python examples/one_model_sklearn.py

Any scikit-learn estimator with `predict_proba` or `decision_function` does, in a pipeline or a search, too.
"""

from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier

import undertow as ut
from undertow.integrations import from_sklearn

x, y = load_digits(return_X_y=True)
dealt = ut.stream(0, "example").permutation(len(x))  # at random: neighbours in this set are of one writer
members, nonmembers, others = ((x[rows], y[rows]) for rows in (dealt[:500], dealt[500:1000], dealt[1000:]))
model = RandomForestClassifier(random_state=0).fit(*members)
reference = RandomForestClassifier(random_state=1).fit(*others)  # of the same task, trained on neither

result = ut.audit_model(from_sklearn(model), members, nonmembers, base=from_sklearn(reference))
print(ut.summary(result))
