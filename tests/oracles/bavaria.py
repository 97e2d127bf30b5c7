"""The posterior predictive by numerical integration over the unknown variance: no Student-t anywhere."""

import numpy as np
from scipy.integrate import quad
from scipy.stats import chi2, norm


def predictive(x, values, d0, variance):
    """log p(x | values): flat prior on the mean (integrated by hand), d0 s0^2 / v ~ chi-squared(d0) on v."""
    n, mean = len(values), values.mean()
    squares = ((values - mean) ** 2).sum()

    def prior(v):
        return chi2.pdf(d0 * variance / v, d0) * d0 * variance / v**2

    def likelihood(v):  # of the values, with the mean integrated out, up to a factor without v
        return v ** (-(n - 1) / 2) * np.exp(-squares / (2 * v))

    def posterior(u):  # over u = log v
        return prior(np.exp(u)) * likelihood(np.exp(u)) * np.exp(u)

    def mixture(u):
        return posterior(u) * norm.pdf(x, mean, np.exp(u / 2) * np.sqrt(1 + 1 / n))

    centre = np.log((squares + d0 * variance) / (n - 1 + d0))
    bounds = centre - 12, centre + 12
    options = {"epsabs": 0, "epsrel": 1e-11, "limit": 500, "points": [centre]}
    return np.log(quad(mixture, *bounds, **options)[0] / quad(posterior, *bounds, **options)[0])
