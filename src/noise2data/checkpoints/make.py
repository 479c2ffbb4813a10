"""Make the models of `noise2data.checkpoints` anew: python -m noise2data.checkpoints.make [NAME ...].

Each is trained for a fixed number of steps from fixed seeds, stored in half precision, loaded again, and measured as
stored; its card says what came out. On one machine, with one number of threads and one version of PyTorch, a model
comes out the same to the last bit. Elsewhere sums are rounded in another order, and training magnifies that: the
held-out loss then agrees within TOLERANCE.

A run that is killed goes on where it was. --share 0.01 makes a trial of a hundredth of the steps.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import nn

from noise2data.checkpoints import load, names, untrained
from noise2data.checkpoints.recipes import RECIPES, Measures, seeded
from noise2data.training import Batch, fit, held_out_loss

TOLERANCE = 0.03  # of the held-out loss, relative
REPEATS = 8  # draws of time and noise for each held-out row

PACKAGE = Path(__file__).parent


def make(name: str, folder: Path, work: Path, share: float = 1.0, progress: bool = True) -> Measures:
    """Train the model of that name, write its file and its card into `folder`, and return what was measured.

    work: where the state of the training lies meanwhile. share: of the recipe's steps, for a trial.
    Raises ValueError for an unknown name.
    """
    from safetensors.torch import save_file

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = untrained(name)
    recipe = RECIPES[name]
    train, held_out = recipe.data(model, folder)
    if recipe.begins_as is not None:
        model.load_state_dict(load(recipe.begins_as, folder).state_dict())
    state, steps = work / f"{name}.pt", max(1, round(share * recipe.steps))
    if recipe.train is None:
        result = fit(
            model,
            recipe.loss_of(folder),
            train,
            steps=steps,
            batch_size=recipe.batch_size,
            lr=recipe.lr,
            cosine=True,
            ema_decay=recipe.target_decay,
            with_ema=recipe.target_decay is not None,
            checkpoint=state,
            generator=seeded(0),
            progress=progress,
        )
        trained, seconds = result.ema, result.seconds
        how = f"`fit`, {recipe.batch_size} rows a step, learning rate {recipe.lr:g} falling along a cosine"
    else:
        began = time.perf_counter()
        trained = recipe.train(train, seeded(0), steps)
        seconds, how = time.perf_counter() - began, "`metrics.train_judge`"
    folder.mkdir(parents=True, exist_ok=True)
    weights = {key: value.half().contiguous() for key, value in trained.state_dict().items()}
    save_file(weights, folder / f"{name}.safetensors")
    stored = load(name, folder)
    measures = {
        "held-out loss": held_out_of(name, stored, held_out, folder),
        "held-out loss before rounding to half precision": held_out_of(name, trained, held_out, folder),
        **recipe.measure(stored, folder),
    }
    spent = f"{steps} steps by {how}: {seconds:.0f} seconds, threads: {torch.get_num_threads()}"
    (folder / f"{name}.md").write_text(_card(name, stored, spent, measures), encoding="utf-8")
    state.unlink(missing_ok=True)
    return measures


@torch.no_grad()
def held_out_of(name: str, model: nn.Module, held_out: Batch, folder: Path) -> float:
    """The model's loss on its held-out rows, always with the same draws."""
    loss = RECIPES[name].loss_of(folder)
    if RECIPES[name].target_decay is not None:
        loss = partial(loss, ema=model)  # which is an average itself
    return held_out_loss(model, loss, held_out, repeats=REPEATS)


def _card(name: str, model: nn.Module, spent: str, measures: Measures) -> str:
    numbers, torch_version = sum(parameter.numel() for parameter in model.parameters()), torch.__version__.split("+")[0]
    lines = [
        f"# {name}",
        "",
        RECIPES[name].summary,
        "",
        f"- Data: {RECIPES[name].source}",
        f"- Parameters: {numbers:,}, stored in float16.",
        f"- Training: {spent}, PyTorch {torch_version}.",
        f"- Made by `python -m noise2data.checkpoints.make {name}`. The same machine gives the same bits again, "
        f"another one a held-out loss within {TOLERANCE:.0%}.",
        "- Use: teaching. It is small, and knows nothing but its data.",
        "",
        "| measured on the stored file | |",
        "|---|---|",
        *(f"| {title} | {value:.4g} |" for title, value in measures.items()),
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m noise2data.checkpoints.make", description="Make the models anew.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all by default: {', '.join(names())}")
    parser.add_argument("--folder", type=Path, default=PACKAGE, help="for the files (the package)")
    parser.add_argument("--work", type=Path, help="for what is half done, to go on after a kill (a temporary folder)")
    parser.add_argument("--share", type=float, default=1.0, help="of the steps, for a trial (1)")
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in names():
            parser.error(f"there is no {name!r}; expected {', '.join(names())}")
    work = options.work or Path(tempfile.gettempdir()) / "noise2data-checkpoints"
    for name in names():
        if not options.names or name in options.names:
            print(name, flush=True)
            for title, value in make(name, options.folder, work, options.share).items():
                print(f"  {title}: {value:.4g}", flush=True)


if __name__ == "__main__":
    main()
