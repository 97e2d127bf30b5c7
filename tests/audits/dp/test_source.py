"""Is Opacus asked for its noise inside of train? Seen in the code, whatever is wrapped around it."""

from functools import partial

from undertow.audits.dp.source import calls


def direct(engine, checkpoint, data, seed):
    return engine.make_private_with_epsilon(target_epsilon=8.0)


def fixed(engine, checkpoint, data, seed):
    return engine.make_private(noise_multiplier=1.1)


def through_another(checkpoint, data, seed):
    return direct(None, checkpoint, data, seed)


def nested(checkpoint, data, seed):
    def inner():
        return checkpoint.make_private_with_epsilon()

    return inner()


class Trainer:
    def __call__(self, checkpoint, data, seed):
        return self.prepare(checkpoint)

    def prepare(self, engine):
        return engine.make_private_with_epsilon()


def closed(train):
    return lambda checkpoint, data, seed: train(None, checkpoint, data, seed)


def test_it_is_seen_and_what_is_right_is_not_accused():
    name = "make_private_with_epsilon"
    for train in (partial(direct, None), through_another, nested, Trainer(), Trainer().__call__, closed(direct)):
        assert calls(train, name)
    for train in (partial(fixed, None), closed(fixed), len, lambda c, d, s: c):
        assert not calls(train, name)
