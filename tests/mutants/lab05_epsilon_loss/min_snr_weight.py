"""Answers to min_snr_weight, wrong and right."""

import torch


def _snr(k, abar):
    a = abar[torch.as_tensor(k)]
    return a / (1 - a)


def _weight(snr, gamma, prediction):
    least = torch.minimum(snr, torch.full_like(snr, float(gamma)))
    if prediction == "eps":
        return (gamma / snr).clamp(max=1)
    return least if prediction == "x0" else least / (snr + 1)


def wrong_snr_turned_over(k, abar, gamma, prediction):
    """Noise over signal."""
    return _weight(1 / _snr(k, abar), gamma, prediction)


def wrong_standard_deviations(k, abar, gamma, prediction):
    """sqrt(SNR)."""
    return _weight(_snr(k, abar).sqrt(), gamma, prediction)


def wrong_logarithm(k, abar, gamma, prediction):
    """log SNR."""
    return _weight(_snr(k, abar).log(), gamma, prediction)


def wrong_one_level_early(k, abar, gamma, prediction):
    """abar[k - 1]; level 0 wraps round to the last."""
    return _weight(_snr(torch.as_tensor(k) - 1, abar), gamma, prediction)


def wrong_one_level_late(k, abar, gamma, prediction):
    """abar[k + 1], the last level again at T."""
    return _weight(_snr((torch.as_tensor(k) + 1).clamp(max=len(abar) - 1), abar), gamma, prediction)


def wrong_eps_weight_for_v(k, abar, gamma, prediction):
    """v gets the weight of eps."""
    return _weight(_snr(k, abar), gamma, "eps" if prediction == "v" else prediction)


def wrong_eps_weight_for_all(k, abar, gamma, prediction):
    """The prediction is not looked at."""
    return _weight(_snr(k, abar), gamma, "eps")


def wrong_x0_weight_for_all(k, abar, gamma, prediction):
    """min(SNR, gamma) for every prediction, as a weight of the error of x0 would be."""
    return _weight(_snr(k, abar), gamma, "x0")


def wrong_x0_and_eps_exchanged(k, abar, gamma, prediction):
    """The two formulas under each other's names."""
    return _weight(_snr(k, abar), gamma, {"eps": "x0", "x0": "eps", "v": "v"}[prediction])


def wrong_maximum(k, abar, gamma, prediction):
    """max(SNR, gamma)."""
    snr = _snr(k, abar)
    return snr.clamp(min=float(gamma)) / {"eps": snr, "x0": torch.ones_like(snr), "v": snr + 1}[prediction]


def wrong_plus_one_above(k, abar, gamma, prediction):
    """min(SNR + 1, gamma)/(SNR + 1) for v, as a well-known library had it for some months."""
    snr = _snr(k, abar)
    return _weight(snr + 1, gamma, "x0") / (snr + 1) if prediction == "v" else _weight(snr, gamma, prediction)


def wrong_gamma_over_v(k, abar, gamma, prediction):
    """SNR + 1 as a factor for v."""
    snr = _snr(k, abar)
    return _weight(snr, gamma, "x0") * (snr + 1) if prediction == "v" else _weight(snr, gamma, prediction)


def wrong_normalised(k, abar, gamma, prediction):
    """Divided by its mean over the batch."""
    weight = _weight(_snr(k, abar), gamma, prediction)
    return weight / weight.mean()


def wrong_normalised_by_gamma(k, abar, gamma, prediction):
    """Divided by gamma, so that the largest is 1."""
    return _weight(_snr(k, abar), gamma, prediction) / gamma


def wrong_nan_without_signal(k, abar, gamma, prediction):
    """min(SNR, gamma)/SNR: 0/0 where abar = 0."""
    snr = _snr(k, abar)
    least = snr.clamp(max=float(gamma))
    return least / {"eps": snr, "x0": torch.ones_like(snr), "v": snr + 1}[prediction]


def wrong_nan_without_noise(k, abar, gamma, prediction):
    """1 - SNR/(SNR + 1) in the weight of v: inf/inf at level 0."""
    snr = _snr(k, abar)
    return _weight(snr, gamma, "x0") * (1 - snr / (snr + 1)) if prediction == "v" else _weight(snr, gamma, prediction)


def wrong_guarded(k, abar, gamma, prediction):
    """1 - abar and SNR kept above 1e-3: the ends are finite and wrong."""
    a = abar[torch.as_tensor(k)]
    snr = (a / (1 - a).clamp(min=1e-3)).clamp(min=1e-3)
    return _weight(snr, gamma, prediction)


def wrong_gamma_of_the_paper(k, abar, gamma, prediction):
    """gamma = 5, whatever is asked for."""
    return _weight(_snr(k, abar), 5.0, prediction)


def wrong_always_float32(k, abar, gamma, prediction):
    """In float32."""
    return _weight(_snr(k, abar), gamma, prediction).float()


def wrong_computes_in_float32(k, abar, gamma, prediction):
    """1 - abar in float32, cast back."""
    return _weight(_snr(k, abar.float()), gamma, prediction).to(abar.dtype)


def wrong_promotes_float32(k, abar, gamma, prediction):
    """Always float64."""
    return _weight(_snr(k, abar.double()), gamma, prediction)


def wrong_in_place(k, abar, gamma, prediction):
    """Writes the SNR over abar."""
    abar.detach().copy_(abar / (1 - abar))
    return _weight(abar[torch.as_tensor(k)], gamma, prediction)


def right_formulas(k, abar, gamma, prediction):
    """The three formulas as they stand."""
    return _weight(_snr(k, abar), gamma, prediction)


def right_by_abar(k, abar, gamma, prediction):
    """All three through abar: no infinity on the way, but for gamma/SNR at no signal."""
    a = abar[torch.as_tensor(k)]
    noise = 1 - a
    if prediction == "v":  # divided by SNR + 1 is multiplied by 1 - abar
        return torch.minimum(a, gamma * noise)
    if prediction == "x0":
        return torch.where(a > gamma * noise, torch.full_like(a, float(gamma)), a / noise.clamp(min=1e-300))
    return torch.where(a > gamma * noise, gamma * noise / a.clamp(min=1e-30), torch.ones_like(a))


def right_row_by_row(k, abar, gamma, prediction):
    """Python floats, one level after the other."""

    def one(a):
        snr = a / (1 - a) if a < 1 else float("inf")
        if prediction == "eps":
            return min(1.0, float(gamma) / snr) if snr else 1.0
        return min(snr, float(gamma)) / (1 if prediction == "x0" else snr + 1)

    k = torch.as_tensor(k)
    return torch.tensor([one(a) for a in abar[k].reshape(-1).tolist()], dtype=abar.dtype).reshape(k.shape)
