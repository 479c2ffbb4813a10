"""Answers to training_step, wrong and right."""

import torch


def _loss(net, x0, k, eps, abar):
    a = abar[k].reshape(-1, *[1] * (x0.ndim - 1))
    return (net(a.sqrt().to(x0.dtype) * x0 + (1 - a).sqrt().to(x0.dtype) * eps, k) - eps).square().mean()


def _draw(x0, abar, generator):
    k = torch.randint(1, len(abar), (len(x0),), generator=generator)
    return k, torch.randn(x0.shape, generator=generator, dtype=x0.dtype)


def _update(optimizer, loss):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def wrong_never_T(net, optimizer, x0, abar, generator):
    """randint(1, T): its upper end is not drawn."""
    k = torch.randint(1, len(abar) - 1, (len(x0),), generator=generator)
    return _update(optimizer, _loss(net, x0, k, _draw(x0, abar, generator)[1], abar))


def wrong_from_0(net, optimizer, x0, abar, generator):
    """randint(0, T), as where steps count from 0."""
    k = torch.randint(0, len(abar) - 1, (len(x0),), generator=generator)
    return _update(optimizer, _loss(net, x0, k, _draw(x0, abar, generator)[1], abar))


def wrong_told_another_level(net, optimizer, x0, abar, generator):
    """Noised to k, the network told k - 1: training and sampling disagree by one."""
    k, eps = _draw(x0, abar, generator)
    return _update(optimizer, _loss(lambda x, k: net(x, k - 1), x0, k, eps, abar))


def wrong_one_level_for_all(net, optimizer, x0, abar, generator):
    """One k for the batch."""
    k, eps = _draw(x0, abar, generator)
    return _update(optimizer, _loss(net, x0, k[:1].expand(len(x0)), eps, abar))


def wrong_one_level_of_one_entry(net, optimizer, x0, abar, generator):
    """One k of shape (1,), which torch broadcasts."""
    k = torch.randint(1, len(abar), (1,), generator=generator)
    return _update(optimizer, _loss(net, x0, k, _draw(x0, abar, generator)[1], abar))


def wrong_antithetic(net, optimizer, x0, abar, generator):
    """k for one half of the batch, T + 1 - k for the other, as in published code."""
    k, eps = _draw(x0, abar, generator)
    half = k[: (len(k) + 1) // 2]
    return _update(optimizer, _loss(net, x0, torch.cat([half, len(abar) - half])[: len(k)], eps, abar))


def wrong_neighbours(net, optimizer, x0, abar, generator):
    """Each level stands twice, side by side."""
    k, eps = _draw(x0, abar, generator)
    return _update(optimizer, _loss(net, x0, k[: (len(k) + 1) // 2].repeat_interleave(2)[: len(k)], eps, abar))


def wrong_stratified(net, optimizer, x0, abar, generator):
    """Levels spread evenly over the batch, in random order: uniform, but not independent."""
    B, T = len(x0), len(abar) - 1
    order = torch.randperm(B, generator=generator)
    k = 1 + (T * (order + torch.rand(B, generator=generator)) / B).long().clamp(max=T - 1)
    return _update(optimizer, _loss(net, x0, k, _draw(x0, abar, generator)[1], abar))


def wrong_logit_normal(net, optimizer, x0, abar, generator):
    """Middle levels more often."""
    T = len(abar) - 1
    k = 1 + (T * torch.sigmoid(torch.randn(len(x0), generator=generator))).long().clamp(max=T - 1)
    return _update(optimizer, _loss(net, x0, k, _draw(x0, abar, generator)[1], abar))


def wrong_rounded(net, optimizer, x0, abar, generator):
    """1 + round((T - 1)·u): the two ends half as often."""
    T = len(abar) - 1
    k = 1 + torch.round((T - 1) * torch.rand(len(x0), generator=generator)).long()
    return _update(optimizer, _loss(net, x0, k, _draw(x0, abar, generator)[1], abar))


def wrong_keeps_stale_gradients(net, optimizer, x0, abar, generator):
    """No zero_grad."""
    loss = _loss(net, x0, *_draw(x0, abar, generator), abar)
    loss.backward()
    optimizer.step()
    return loss.item()


def wrong_clears_afterwards(net, optimizer, x0, abar, generator):
    """zero_grad after the step: what was there before is added once."""
    loss = _loss(net, x0, *_draw(x0, abar, generator), abar)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def wrong_clears_too_late(net, optimizer, x0, abar, generator):
    """zero_grad between backward and step."""
    loss = _loss(net, x0, *_draw(x0, abar, generator), abar)
    loss.backward()
    optimizer.zero_grad()
    optimizer.step()
    return loss.item()


def wrong_no_step(net, optimizer, x0, abar, generator):
    """The optimizer does not step."""
    optimizer.zero_grad()
    loss = _loss(net, x0, *_draw(x0, abar, generator), abar)
    loss.backward()
    return loss.item()


def wrong_two_steps(net, optimizer, x0, abar, generator):
    """optimizer.step() twice."""
    loss = _loss(net, x0, *_draw(x0, abar, generator), abar)
    value = _update(optimizer, loss)
    optimizer.step()
    return value


def wrong_loss_after_the_update(net, optimizer, x0, abar, generator):
    """The loss is evaluated once more after the step."""
    k, eps = _draw(x0, abar, generator)
    _update(optimizer, _loss(net, x0, k, eps, abar))
    return _loss(net, x0, k, eps, abar).item()


def wrong_returns_a_tensor(net, optimizer, x0, abar, generator):
    """The loss with its graph."""
    loss = _loss(net, x0, *_draw(x0, abar, generator), abar)
    _update(optimizer, loss)
    return loss


def wrong_returns_nothing(net, optimizer, x0, abar, generator):
    """No return."""
    _update(optimizer, _loss(net, x0, *_draw(x0, abar, generator), abar))


def wrong_summed_loss(net, optimizer, x0, abar, generator):
    """A sum over the features, in the movement and in what is returned."""
    return _update(optimizer, x0[0].numel() * _loss(net, x0, *_draw(x0, abar, generator), abar))


def wrong_returns_the_sum(net, optimizer, x0, abar, generator):
    """Returns the sum over the batch, as for a running total."""
    return _update(optimizer, _loss(net, x0, *_draw(x0, abar, generator), abar)) * len(x0)


def wrong_climbs(net, optimizer, x0, abar, generator):
    """Up the gradient."""
    return -_update(optimizer, -_loss(net, x0, *_draw(x0, abar, generator), abar))


def wrong_clips_gradients(net, optimizer, x0, abar, generator):
    """Gradients cut to norm 1."""
    loss = _loss(net, x0, *_draw(x0, abar, generator), abar)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimizer.step()
    return loss.item()


def wrong_clips_each_gradient(net, optimizer, x0, abar, generator):
    """Every entry of the gradients cut to ±1."""
    loss = _loss(net, x0, *_draw(x0, abar, generator), abar)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_value_(net.parameters(), 1.0)
    optimizer.step()
    return loss.item()


def wrong_two_calls(net, optimizer, x0, abar, generator):
    """One call for the gradient, and one for the number that is returned."""
    k, eps = _draw(x0, abar, generator)
    value = _loss(net, x0, k, eps, abar).item()
    _update(optimizer, _loss(net, x0, k, eps, abar))
    return value


def wrong_noise_of_another_draw(net, optimizer, x0, abar, generator):
    """xk is made with one eps, and compared with another."""
    k, eps = _draw(x0, abar, generator)
    other = torch.randn(x0.shape, generator=generator, dtype=x0.dtype)
    return _update(optimizer, _loss(lambda x, k: net(x, k) + eps - other, x0, k, eps, abar))


def wrong_uniform_noise(net, optimizer, x0, abar, generator):
    """rand: noise in [0, 1)."""
    k, _ = _draw(x0, abar, generator)
    eps = torch.rand(x0.shape, generator=generator, dtype=x0.dtype)
    return _update(optimizer, _loss(net, x0, k, eps, abar))


def wrong_flat_noise(net, optimizer, x0, abar, generator):
    """Uniform noise of mean 0 and variance 1."""
    k, _ = _draw(x0, abar, generator)
    eps = 12**0.5 * (torch.rand(x0.shape, generator=generator, dtype=x0.dtype) - 0.5)
    return _update(optimizer, _loss(net, x0, k, eps, abar))


def wrong_noise_shared_by_the_batch(net, optimizer, x0, abar, generator):
    """One noise picture for all samples."""
    k, _ = _draw(x0, abar, generator)
    eps = torch.randn(x0[:1].shape, generator=generator, dtype=x0.dtype).expand(x0.shape)
    return _update(optimizer, _loss(net, x0, k, eps, abar))


def wrong_one_number_per_sample(net, optimizer, x0, abar, generator):
    """The same noise in every feature of a sample."""
    k, _ = _draw(x0, abar, generator)
    eps = torch.randn(len(x0), *[1] * (x0.ndim - 1), generator=generator, dtype=x0.dtype).expand(x0.shape)
    return _update(optimizer, _loss(net, x0, k, eps, abar))


def wrong_noise_grows_with_the_level(net, optimizer, x0, abar, generator):
    """eps scaled by sqrt(1 - abar) already when it is drawn."""
    k, eps = _draw(x0, abar, generator)
    return _update(
        optimizer, _loss(net, x0, k, eps * (1 - abar[k]).sqrt().reshape(-1, *[1] * (x0.ndim - 1)).to(x0), abar)
    )


def wrong_global_noise(net, optimizer, x0, abar, generator):
    """randn_like: the generator is forgotten for the noise."""
    k, _ = _draw(x0, abar, generator)
    return _update(optimizer, _loss(net, x0, k, torch.randn_like(x0), abar))


def wrong_global_levels(net, optimizer, x0, abar, generator):
    """The generator is forgotten for the levels."""
    k = torch.randint(1, len(abar), (len(x0),))
    return _update(optimizer, _loss(net, x0, k, _draw(x0, abar, generator)[1], abar))


def wrong_seeds_itself(net, optimizer, x0, abar, generator):
    """The same draws in every step, from a generator with a seed of its own."""
    return _update(optimizer, _loss(net, x0, *_draw(x0, abar, torch.Generator().manual_seed(0)), abar))


def wrong_starts_again(net, optimizer, x0, abar, generator):
    """The generator is set back to its seed: every step draws the same."""
    return _update(optimizer, _loss(net, x0, *_draw(x0, abar, generator.manual_seed(generator.initial_seed())), abar))


def wrong_for_vectors_only(net, optimizer, x0, abar, generator):
    """[:, None]: images fail."""
    k, eps = _draw(x0, abar, generator)
    a = abar[k][:, None]
    xk = a.sqrt().to(x0.dtype) * x0 + (1 - a).sqrt().to(x0.dtype) * eps
    return _update(optimizer, (net(xk, k) - eps).square().mean())


def wrong_promotes_to_float64(net, optimizer, x0, abar, generator):
    """The network sees float64, and k as floats."""
    k, eps = _draw(x0, abar, generator)
    a = abar[k].reshape(-1, *[1] * (x0.ndim - 1))
    return _update(optimizer, (net(a.sqrt() * x0 + (1 - a).sqrt() * eps, k.double()) - eps).square().mean())


def wrong_first_half_only(net, optimizer, x0, abar, generator):
    """A slip of a slice: half of the batch is not used."""
    x0 = x0[: (len(x0) + 1) // 2]
    return _update(optimizer, _loss(net, x0, *_draw(x0, abar, generator), abar))


def wrong_in_place(net, optimizer, x0, abar, generator):
    """Centres the batch where it lies."""
    value = _update(optimizer, _loss(net, x0, *_draw(x0, abar, generator), abar))
    x0.sub_(x0.mean())
    return value


def right_noise_first(net, optimizer, x0, abar, generator):
    """eps before k, floor of a uniform number, gradients set to zero and not to None."""
    eps = torch.randn(x0.shape, generator=generator, dtype=x0.dtype)
    T = len(abar) - 1
    k = torch.floor(T * torch.rand(len(x0), generator=generator, dtype=torch.float64)).long() + 1
    optimizer.zero_grad(set_to_none=False)
    loss = torch.nn.functional.mse_loss(*_guess_and_noise(net, x0, k, eps, abar))
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def _guess_and_noise(net, x0, k, eps, abar):
    a = abar[k].reshape(-1, *[1] * (x0.ndim - 1))
    return net((a**0.5).to(x0) * x0 + ((1 - a) ** 0.5).to(x0) * eps, k), eps


def right_gradients_by_hand(net, optimizer, x0, abar, generator):
    """torch.autograd.grad in place of backward, levels from multinomial, noise sample by sample."""
    T = len(abar) - 1
    k = 1 + torch.multinomial(torch.ones(T), len(x0), replacement=True, generator=generator)
    eps = torch.stack([torch.randn(x.shape, generator=generator, dtype=x.dtype) for x in x0])
    guess, eps = _guess_and_noise(net, x0, k, eps, abar)
    loss = ((guess - eps) ** 2).sum() / eps.numel()
    parameters = list(net.parameters())
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.grad = gradient
    optimizer.step()
    return loss.item()


def right_closure(net, optimizer, x0, abar, generator):
    """A closure, as LBFGS wants it; called once by gradient descent."""
    k = torch.randint(len(abar) - 1, x0.shape[:1], generator=generator) + 1
    eps = torch.empty_like(x0).normal_(generator=generator)

    def closure():
        net.zero_grad()
        guess, noise = _guess_and_noise(net, x0, k, eps, abar)
        loss = (guess - noise).pow(2).mean()
        loss.backward()
        return loss

    return optimizer.step(closure).item()
