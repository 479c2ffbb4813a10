"""Callables that checks pass in."""

import torch


def affine(scale, shift):
    """x -> scale x + shift."""
    return lambda x: scale * x + shift


def composed(outer, inner):
    """x -> outer(inner(x)), of two callables that are on the student's side already."""
    return lambda x: outer(inner(x))


def noisy_gain(scale):
    """A module with one parameter: x -> scale x, with half of the entries dropped in training mode."""
    return NoisyGain(scale)


class NoisyGain(torch.nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.as_tensor(scale))
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, x):
        return self.dropout(self.scale * x)
