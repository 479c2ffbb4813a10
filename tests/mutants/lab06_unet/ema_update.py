"""Answers to `ema_update`."""

import torch


def _tensors(module):
    return [*module.parameters(), *module.buffers()]


@torch.no_grad()
def _update(olds, news, decay):
    for old, new in zip(olds, news, strict=True):
        if old.is_floating_point():
            old.copy_(decay * old + (1 - decay) * new)
        else:
            old.copy_(new)


def wrong_parameters_only(ema_model, model, decay):
    """Buffers keep the values that they had at the start."""
    _update(ema_model.parameters(), model.parameters(), decay)


def wrong_decay_exchanged(ema_model, model, decay):
    """decay is the share of the new value."""
    _update(_tensors(ema_model), _tensors(model), 1 - decay)


def wrong_buffers_copied(ema_model, model, decay):
    """Floating buffers are copied, not averaged."""
    _update(ema_model.parameters(), model.parameters(), decay)
    _update(ema_model.buffers(), model.buffers(), 0.0)


@torch.no_grad()
def wrong_integers_averaged(ema_model, model, decay):
    """Integer buffers are averaged, and rounded down."""
    for old, new in zip(_tensors(ema_model), _tensors(model), strict=True):
        old.copy_(decay * old + (1 - decay) * new)


def wrong_integers_kept(ema_model, model, decay):
    """Integer buffers stay as they were."""
    pairs = zip(_tensors(ema_model), _tensors(model), strict=True)
    floating = [(old, new) for old, new in pairs if old.is_floating_point()]
    _update([old for old, _ in floating], [new for _, new in floating], decay)


def wrong_trainable_only(ema_model, model, decay):
    """Frozen parameters are left out."""
    pairs = [(a, b) for a, b in zip(ema_model.parameters(), model.parameters(), strict=True) if b.requires_grad]
    _update([a for a, _ in pairs], [b for _, b in pairs], decay)
    _update(ema_model.buffers(), model.buffers(), decay)


def wrong_keeps_a_graph(ema_model, model, decay):
    """Without no_grad: a frozen average becomes part of the model's graph."""
    for old, new in zip(ema_model.parameters(), model.parameters(), strict=True):
        if old.requires_grad:
            old.data.mul_(decay).add_(new.data, alpha=1 - decay)
        else:
            old.mul_(decay).add_(new, alpha=1 - decay)
    _update(ema_model.buffers(), model.buffers(), decay)


def wrong_new_tensors(ema_model, model, decay):
    """Replaces every parameter by a new one."""
    _update(ema_model.buffers(), model.buffers(), decay)
    others = dict(model.named_modules())
    for path, part in ema_model.named_modules():
        for name, old in list(part.named_parameters(recurse=False)):
            new = getattr(others[path], name)
            value = decay * old.detach() + (1 - decay) * new.detach()
            setattr(part, name, torch.nn.Parameter(value, requires_grad=old.requires_grad))


def wrong_returns_the_average(ema_model, model, decay):
    """Returns ema_model."""
    _update(_tensors(ema_model), _tensors(model), decay)
    return ema_model


def wrong_freezes_the_average(ema_model, model, decay):
    """Puts the average into evaluation mode and freezes it on the way."""
    _update(_tensors(ema_model), _tensors(model), decay)
    ema_model.eval().requires_grad_(False)


def wrong_model_in_evaluation_mode(ema_model, model, decay):
    """Leaves the model in evaluation mode."""
    model.eval()
    _update(_tensors(ema_model), _tensors(model), decay)


@torch.no_grad()
def wrong_moves_the_model(ema_model, model, decay):
    """Writes the average into the model too."""
    _update(_tensors(ema_model), _tensors(model), decay)
    _update(_tensors(model), _tensors(ema_model), 0.0)


@torch.no_grad()
def wrong_scales_the_model(ema_model, model, decay):
    """Multiplies the model's own parameters in place on the way."""
    for old, new in zip(_tensors(ema_model), _tensors(model), strict=True):
        if old.is_floating_point():
            old.mul_(decay).add_(new.mul_(1 - decay))
        else:
            old.copy_(new)


def wrong_top_level_only(ema_model, model, decay):
    """Forgets the layers inside."""
    _update(ema_model.parameters(recurse=False), model.parameters(recurse=False), decay)
    _update(ema_model.buffers(recurse=False), model.buffers(recurse=False), decay)


def wrong_warm_up_of_its_own(ema_model, model, decay):
    """A decay that is never 1: shrinks what it is given."""
    _update(_tensors(ema_model), _tensors(model), min(decay, 0.99))


def wrong_bias_corrected(ema_model, model, decay):
    """Adam's correction, applied to the stored average again and again."""
    _update(_tensors(ema_model), _tensors(model), decay)
    with torch.no_grad():
        for old in ema_model.parameters():
            old.div_(1 - decay**2 if decay < 1 else 1)


def right_by_state_dict(ema_model, model, decay):
    """Reads both state dicts and loads the mixture."""
    new = model.state_dict()
    mixed = {
        name: old.lerp(new[name], 1 - decay) if old.is_floating_point() else new[name]
        for name, old in ema_model.state_dict().items()
    }
    ema_model.load_state_dict(mixed)


def right_through_data(ema_model, model, decay):
    """Works on .data, by name."""
    others = dict(model.named_parameters())
    for name, old in ema_model.named_parameters():
        old.data += (1 - decay) * (others[name].data - old.data)
    others = dict(model.named_buffers())
    for name, old in ema_model.named_buffers():
        new = others[name].clone()
        old.data = old.data * decay + new * (1 - decay) if old.dtype.is_floating_point else new


@torch.inference_mode(False)
@torch.no_grad()
def right_foreach(ema_model, model, decay):
    """torch's loops over lists of tensors."""
    pairs = list(zip(_tensors(ema_model), _tensors(model), strict=True))
    floating = [pair for pair in pairs if pair[0].is_floating_point()]
    torch._foreach_mul_([old for old, _ in floating], decay)
    for old, new in floating:
        old += (1 - decay) * new
    for old, new in pairs:
        if not old.is_floating_point():
            old[...] = new
