"""Answers to drop_labels, wrong and right."""

import torch


def wrong_once_per_batch(y, p, null, generator):
    """One number decides for the whole batch."""
    drop = torch.rand((), generator=generator) < p
    return torch.full_like(y, null) if drop else y.clone()


def wrong_fixed_share(y, p, null, generator):
    """Exactly round(p B) labels, at random places."""
    out = y.clone()
    out[torch.randperm(len(y), generator=generator)[: round(p * len(y))]] = null
    return out


def wrong_first_ones(y, p, null, generator):
    """The first so many of the batch, their number random."""
    count = int((torch.rand(len(y), generator=generator) < p).sum())
    return torch.where(torch.arange(len(y)) < count, null, y)


def wrong_keeps_with_p(y, p, null, generator):
    """p is the probability of keeping."""
    return torch.where(torch.rand(len(y), generator=generator) > p, null, y)


def wrong_global_generator(y, p, null, generator):
    """torch.rand without the generator."""
    return torch.where(torch.rand(len(y)) < p, null, y)


def wrong_reseeds(y, p, null, generator):
    """A generator of its own, always the same."""
    own = torch.Generator().manual_seed(0)
    return torch.where(torch.rand(len(y), generator=own) < p, null, y)


def wrong_multiplies(y, p, null, generator):
    """Dropped labels become 0, whatever null is."""
    return y * (torch.rand(len(y), generator=generator) >= p).to(y.dtype)


def wrong_null_is_the_count(y, p, null, generator):
    """null is taken to be one more than the largest label."""
    return torch.where(torch.rand(len(y), generator=generator) < p, int(y.max()) + 1, y)


def wrong_in_place(y, p, null, generator):
    """Writes into y."""
    y[torch.rand(len(y), generator=generator) < p] = null
    return y


def wrong_dtype(y, p, null, generator):
    """Labels come back as int64 whatever they were."""
    return torch.where(torch.rand(len(y), generator=generator) < p, torch.tensor(null), y.long())


def wrong_float(y, p, null, generator):
    """A blend with a mask in float32."""
    mask = torch.bernoulli(torch.full((len(y),), float(p)), generator=generator)
    return y * (1 - mask) + null * mask


def wrong_by_class(y, p, null, generator):
    """One decision for each class, so that all samples of a class are dropped together."""
    drop = torch.rand(64, generator=generator) < p
    return torch.where(drop[y.long() % 64], null, y)


def wrong_in_pairs(y, p, null, generator):
    """Neighbours in the batch share a decision."""
    drop = torch.rand(len(y) // 2 + 1, generator=generator) < p
    return torch.where(drop.repeat_interleave(2)[: len(y)], null, y)


def wrong_random_label(y, p, null, generator):
    """A dropped label becomes another class, not null."""
    other = torch.randint(0, 10, y.shape, generator=generator).to(y.dtype)
    return torch.where(torch.rand(len(y), generator=generator) < p, other, y)


def wrong_removes(y, p, null, generator):
    """Dropped labels are left out of the batch."""
    return y[torch.rand(len(y), generator=generator) >= p]


def wrong_normal(y, p, null, generator):
    """randn for rand: too many below p."""
    return torch.where(torch.randn(len(y), generator=generator) < p, null, y)


def wrong_never_all(y, p, null, generator):
    """p is clamped to 0.9, so that p = 1 keeps some."""
    return torch.where(torch.rand(len(y), generator=generator) < min(p, 0.9), null, y)


def wrong_sorted(y, p, null, generator):
    """Labels change places with each other."""
    y = y[torch.randperm(len(y), generator=generator)]
    return torch.where(torch.rand(len(y), generator=generator) < p, null, y)


def right_mask(y, p, null, generator):
    """A clone, written by a mask."""
    out = y.clone()
    out[torch.rand(y.shape, generator=generator) < p] = null
    return out


def right_bernoulli(y, p, null, generator):
    """bernoulli, and masked_fill."""
    drop = torch.bernoulli(torch.full(y.shape, p, dtype=torch.float64), generator=generator)
    return y.masked_fill(drop.bool(), null)


def right_one_by_one(y, p, null, generator):
    """A loop over the batch, a number for each."""
    coins = [torch.rand((), generator=generator, dtype=torch.float64).item() for _ in range(len(y))]
    return torch.tensor([null if coin < p else label for coin, label in zip(coins, y.tolist(), strict=True)]).to(y)
