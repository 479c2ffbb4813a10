"""What loads, what is refused, how files are made (with a few steps), and what is in those that ship."""

import math
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from noise2data import checkpoints, shapes
from noise2data.checkpoints import card, load, make, names, recipes, shape_label, untrained
from noise2data.denoiser import Denoiser

SHAPES_IN = {"digits": (1, 8, 8), "shapes": (4, 8, 8)}


@pytest.fixture
def few(monkeypatch):
    """Data and samples in small numbers."""
    monkeypatch.setattr(make, "REPEATS", 1)
    monkeypatch.setattr(recipes, "SAMPLES", 30)
    monkeypatch.setattr(recipes, "PICTURES", 64)
    monkeypatch.setattr(recipes, "HELD_OUT_PICTURES", 32)


def trial(folder, name, share=1e-6):
    return make.make(name, folder, folder / "work", share, progress=False)


# Names and errors ---------------------------------------------------------------------------------------------


def test_names_are_those_of_the_table_and_of_the_recipes():
    table = re.findall(r"^    (\w+)  ", checkpoints.__doc__, re.MULTILINE)
    assert list(names()) == table == list(recipes.RECIPES)


@pytest.mark.parametrize("function", [load, card, untrained])
def test_unknown_names_are_refused(function):
    with pytest.raises(ValueError, match="name is 'digit'; expected one of digits_judge, digits_eps,"):
        function("digit")


@pytest.mark.parametrize("function", [load, card])
def test_a_file_that_has_not_been_made_is_named_with_the_command_that_makes_it(function, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"digits_edm\..* not been made yet: python -m noise2data.checkpoints.make"
    ):
        function("digits_edm", tmp_path)


def test_weights_of_another_network_are_refused(tmp_path):
    save_file(untrained("digits_eps").state_dict(), tmp_path / "digits_edm.safetensors")
    with pytest.raises(
        ValueError, match="digits_edm.safetensors holds weights of another network than 'digits_edm' has"
    ):
        load("digits_edm", tmp_path)


def test_shape_labels_count_shapes_and_colours():
    attributes = torch.stack([scene.attributes for scene in shapes.scenes("all")])
    labels = shape_label(attributes)
    assert labels.unique().tolist() == list(range(checkpoints.NO_SHAPE)) and labels.dtype == torch.int64
    assert len(torch.cat([labels[:, None], attributes[:, :2]], 1).unique(dim=0)) == checkpoints.NO_SHAPE


# Making -------------------------------------------------------------------------------------------------------


def test_a_model_is_made_stored_and_described(tmp_path, few):
    measures = trial(tmp_path, "digits_judge")
    stored = load_file(tmp_path / "digits_judge.safetensors")
    judge = load("digits_judge", tmp_path)
    assert not judge.training and judge(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    for name, value in judge.state_dict().items():
        assert stored[name].dtype == torch.float16 and value.dtype == torch.float32
        assert torch.equal(value, stored[name].float())
    text = card("digits_judge", tmp_path)
    assert text.startswith("# digits_judge\n") and "scikit-learn" in text and " 1 steps by `metrics" in text
    for title, value in measures.items():
        assert f"| {title} | {value:.4g} |" in text
    assert {file.name for file in tmp_path.rglob("*.*")} == {"digits_judge.md", "digits_judge.safetensors"}


def test_a_model_comes_out_the_same_again_also_when_making_it_was_cut_short(tmp_path, few, monkeypatch):
    one, two = tmp_path / "one", tmp_path / "two"
    state = torch.get_rng_state()
    trial(one, "shapes_autoencoder", 1e-3)
    with monkeypatch.context() as patch:
        patch.setattr(make, "load", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            trial(two, "shapes_autoencoder", 1e-3)
    trained = (two / "work" / "shapes_autoencoder.pt").stat().st_mtime_ns
    monkeypatch.setattr(make.Path, "unlink", lambda path, missing_ok: None)
    trial(two, "shapes_autoencoder", 1e-3)
    assert (two / "work" / "shapes_autoencoder.pt").stat().st_mtime_ns == trained
    files = [(folder / "shapes_autoencoder.safetensors").read_bytes() for folder in (one, two)]
    assert files[0] == files[1] and torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", ["digits_eps", "digits_eps_class", "digits_edm", "digits_velocity"])
def test_denoisers_of_digits_are_made_and_measured(name, tmp_path, few):
    trial(tmp_path, "digits_judge")
    measures = trial(tmp_path, name)
    assert all(math.isfinite(value) for value in measures.values())
    assert ("judge's accuracy on samples" in measures) == (name != "digits_eps")
    a, b = list(measures.values())[:2]
    assert a == pytest.approx(b, rel=1e-3)  # half precision does no harm


def test_students_are_made_of_their_teachers(tmp_path, few):
    for name in ("digits_judge", "digits_velocity", "digits_edm"):
        trial(tmp_path, name)
    for name in ("digits_four_steps", "digits_two_steps", "digits_one_step", "digits_consistency"):
        assert all(math.isfinite(value) for value in trial(tmp_path, name).values())
    four, two = (load(name, tmp_path).state_dict() for name in ("digits_four_steps", "digits_two_steps"))
    assert all((four[name] - two[name]).abs().max() < 0.01 for name in four)  # it began there, and made one step


def test_autoencoder_and_latent_denoiser_are_made_and_measured(tmp_path, few):
    for name in ("shapes_autoencoder", "shapes_latent"):
        assert all(math.isfinite(value) for value in trial(tmp_path, name).values())
    scale = load("shapes_latent", tmp_path).latent_scale
    latents, labels = recipes.latents(tmp_path, 64, 0)
    assert scale == pytest.approx(1 / latents.std(correction=0).item(), rel=1e-3)
    assert labels.max() < checkpoints.NO_SHAPE


def test_the_command_makes_what_is_named(tmp_path, few, capsys):
    options = ["--folder", str(tmp_path), "--work", str(tmp_path / "work"), "--share", "1e-6"]
    make.main(["digits_judge", *options])
    assert (tmp_path / "digits_judge.md").exists() and "held-out loss" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        make.main(["digit", *options])
    assert "there is no 'digit'; expected digits_judge, digits_eps" in capsys.readouterr().err


# The files that ship ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", names())
def test_a_shipped_model_is_ready_to_use(name):
    model = load(name)
    x = torch.randn(2, *SHAPES_IN[name.split("_")[0]])
    if name == "digits_judge":
        assert model(x).shape == (2, 10) and model.features(x).shape == (2, 64)
    elif name == "shapes_autoencoder":
        assert model.encode(model.decode(x))[0].shape == x.shape
    else:
        assert isinstance(model, Denoiser) and model(x, 0.5).shape == x.shape
    if isinstance(model, Denoiser) and name != "digits_eps":
        null = checkpoints.NO_SHAPE if name == "shapes_latent" else checkpoints.NO_DIGIT
        assert not torch.equal(model(x, 0.5, torch.tensor([0, 1])), model(x, 0.5, torch.tensor([null, null])))


def test_a_model_is_loaded_in_float32_whatever_the_default_is():
    torch.set_default_dtype(torch.float64)
    try:
        model = load("digits_judge")
    finally:
        torch.set_default_dtype(torch.float32)
    assert {tensor.dtype for tensor in model.state_dict().values() if tensor.is_floating_point()} == {torch.float32}


@pytest.mark.parametrize("name", names())
def test_a_shipped_model_has_the_loss_that_its_card_states(name, monkeypatch):
    """Each held-out row with one draw, where the card has eight: the two differ by a few percent."""
    monkeypatch.setattr(make, "REPEATS", 1)
    monkeypatch.setattr(recipes, "PICTURES", 512)
    model = load(name)
    _, held_out = recipes.RECIPES[name].data(model, make.PACKAGE)
    value = make.held_out_of(name, model, held_out, make.PACKAGE)
    (stated,) = re.findall(r"^\| held-out loss \| (.*) \|$", card(name), re.MULTILINE)
    assert value == pytest.approx(float(stated), rel=0.2)


def test_shipped_files_are_small_and_have_cards():
    for suffix in ("safetensors", "md"):
        assert {file.stem for file in make.PACKAGE.glob(f"*.{suffix}")} == set(names())
    assert sum(file.stat().st_size for file in make.PACKAGE.glob("*.safetensors")) <= 15e6
