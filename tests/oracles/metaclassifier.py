"""One metaclassifier, trained by torch in float64 with the randomness it is given."""

import numpy as np
import torch


def train_with_torch(inputs, labels, recipe, chance):
    """The trained hidden (F + 1, H) and output (2, H + 1) weights, as `Networks` has them."""
    hidden, output = torch.nn.Linear(inputs.shape[1], recipe.hidden), torch.nn.Linear(recipe.hidden, 2)
    network = torch.nn.ModuleList([hidden, output]).double()
    with torch.no_grad():
        hidden.weight.copy_(torch.tensor(chance.hidden[:-1].T))
        hidden.bias.copy_(torch.tensor(chance.hidden[-1]))
        output.weight.copy_(torch.tensor(chance.output[:, :-1]))
        output.bias.copy_(torch.tensor(chance.output[:, -1]))
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, recipe.step, recipe.gamma)
    x, y = torch.tensor(inputs, dtype=torch.float64), torch.tensor(labels).long()
    for epoch in range(recipe.epochs):
        order = torch.tensor(chance.order[epoch])
        bits = np.unpackbits(chance.keep[epoch], count=len(x) * recipe.hidden).reshape(len(x), -1)
        for start in range(0, len(x), recipe.batch):
            part = slice(start, start + recipe.batch)
            dropout = torch.tensor(bits[part]).double() / (1 - recipe.dropout)
            odds = output(torch.relu(hidden(x[order[part]])) * dropout)
            loss = torch.nn.functional.cross_entropy(odds, y[order[part]])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    layers = [torch.cat([layer.weight, layer.bias[:, None]], 1).detach().numpy() for layer in (hidden, output)]
    return layers[0].T, layers[1]


def odds_with_torch(weights, inputs):
    """Log-odds of the rows (n, F), from the two softmax outputs."""
    hidden, output = weights
    active = np.maximum(inputs @ hidden[:-1] + hidden[-1], 0)
    log_p = torch.log_softmax(torch.tensor(active @ output[:, :-1].T + output[:, -1]), 1).numpy()
    return log_p[:, 1] - log_p[:, 0]
