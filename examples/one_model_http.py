"""A model behind an address that answers JSON: does it give away its training data?

    python examples/one_model_http.py

The server here stands for yours. From the shell the same is

    undertow audit mia --model http://127.0.0.1:8000/ --members members.csv --nonmembers nonmembers.csv

Request {"inputs": [record, ...]}, answer {"outputs": [[number per class], ...]}; what goes into the header
Authorization is read from the environment variable UNDERTOW_AUTHORIZATION.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from sklearn.datasets import load_digits
from sklearn.tree import DecisionTreeClassifier

import undertow as ut
from undertow.integrations import Asking, from_url

x, y = load_digits(return_X_y=True)
dealt = ut.stream(0, "example").permutation(len(x))  # at random: neighbours in this set are of one writer
members, nonmembers = ((x[rows], y[rows]) for rows in (dealt[:300], dealt[300:600]))
model = DecisionTreeClassifier(max_depth=8, random_state=0).fit(*members)


class Server(BaseHTTPRequestHandler):
    """Yours, wherever it runs."""

    def do_POST(self) -> None:
        """Probabilities of every class for every record."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps({"outputs": model.predict_proba(asked["inputs"]).tolist()}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


server = HTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"http://127.0.0.1:{server.server_port}/"

served = from_url(address, Asking(batch=64, rate=50))
print(ut.summary(ut.audit_model(served, members, nonmembers)))
