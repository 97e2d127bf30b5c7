"""A Keras model: does it give away its training data?

python examples/one_model_keras.py
"""

import os
from importlib.util import find_spec

from sklearn.datasets import load_digits

import undertow as ut
from undertow.integrations import from_keras

x, y = load_digits(return_X_y=True)
dealt = ut.stream(0, "example").permutation(len(x))  # at random: neighbours in this set are of one writer
members, nonmembers = ((x[rows] / 16, y[rows]) for rows in (dealt[:400], dealt[400:800]))

if find_spec("keras"):
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    model = keras.Sequential([keras.layers.Dense(64, "relu"), keras.layers.Dense(10, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(*members, epochs=40, verbose=0)
    print(ut.summary(ut.audit_model(from_keras(model), members, nonmembers)))
else:
    print("keras is not installed; nothing was run.")
