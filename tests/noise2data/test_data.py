"""Toy sets against what defines them, and image sets read from small files in their real formats."""

import functools
import gzip
import hashlib
import http.server
import io
import math
import pickle
import socket
import struct
import sys
import tarfile
import threading

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.datasets import load_digits

from noise2data import data, mixtures

TOYS = [data.checkerboard, data.two_moons, data.spiral, data.eight_gaussians_sample]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# In the plane -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("toy", TOYS)
def test_toy_sets_have_the_same_form(toy):
    state = torch.get_rng_state()
    x = toy(2000, generator())
    assert x.shape == (2000, 2) and x.dtype == torch.float32 and x.abs().max() < 4
    assert (x.mean(0).abs() < 0.5).all() and 0.5 < x.std() < 1.6
    assert torch.equal(x, toy(2000, generator())) and not torch.equal(x, toy(2000, generator(1)))
    assert torch.equal(state, torch.get_rng_state())
    assert toy(1).shape == (1, 2)
    for n in (0, 2.5, "many"):
        with pytest.raises(ValueError, match=f"n is {n!r}; expected a whole number >= 1"):
            toy(n)


def test_checkerboard_is_uniform_on_the_dark_squares():
    """Chi-square over the 32 quarters of the eight squares; false-alarm rate 1e-7."""
    x = data.checkerboard(20_000, generator())
    column, row = (x + 2).floor().long().unbind(1)
    assert ((column + row) % 2 == 0).all() and x.abs().max() <= 2
    quarter = torch.histogramdd(x, 8, range=[-2.0, 2.0, -2.0, 2.0]).hist
    counts = quarter[quarter > 0]
    assert len(counts) == 32
    assert stats.chisquare(counts.numpy()).pvalue > 1e-7


def test_moons_are_two_arcs():
    x = data.two_moons(500, generator(), noise=0.0) / 1.5
    upper, lower = torch.tensor([-0.5, -0.25]), torch.tensor([0.5, 0.25])
    on_upper = ((x - upper).norm(dim=1) - 1).abs() < 1e-5
    on_lower = ((x - lower).norm(dim=1) - 1).abs() < 1e-5
    assert (on_upper | on_lower).all() and (x[on_upper, 1] > -0.2501).all() and (x[on_lower, 1] < 0.2501).all()
    assert abs(on_upper.float().mean() - 0.5) < 0.15  # 6.7 standard deviations: rate 2e-11


def test_spiral_is_a_spiral():
    x = data.spiral(500, generator(), turns=2.0, noise=0.0)
    radius = x.norm(dim=1)
    angle = 2 * math.pi * radius  # two turns over a radius of 2
    torch.testing.assert_close(x, radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1), rtol=1e-4, atol=1e-4)


def test_eight_gaussians_are_the_mixtures():
    """By the distance to the nearest mean, a Rayleigh variable as long as the modes stay apart; rate 1e-7."""
    mixture, x = mixtures.eight_gaussians(), data.eight_gaussians_sample(5000, generator())
    distance = torch.cdist(x.double(), mixture.means).min(1).values
    assert stats.kstest(distance.numpy(), stats.rayleigh(scale=0.2).cdf).pvalue > 1e-7


# Digits -------------------------------------------------------------------------------------------------------


def test_digits_are_scikit_learns():
    images, labels = data.digits()
    assert images.shape == (1797, 1, 8, 8) and images.dtype == torch.float32
    assert images.min() == -1 and images.max() == 1
    assert labels.shape == (1797,) and labels.dtype == torch.int64
    np.testing.assert_array_equal((images[:, 0] + 1).numpy() * 8, load_digits().images)
    np.testing.assert_array_equal(labels.numpy(), load_digits().target)


def test_digits_are_shuffled_together():
    images, labels = data.digits()
    shuffled, their = data.digits(generator())
    assert not torch.equal(labels, their) and torch.equal(labels.bincount(), their.bincount())
    place = {image.numpy().tobytes(): label for image, label in zip(images, labels.tolist(), strict=True)}
    assert all(place[i.numpy().tobytes()] == n for i, n in zip(shuffled, their.tolist(), strict=True))
    assert torch.equal(their, data.digits(generator())[1])


# Image sets through torchvision -------------------------------------------------------------------------------
#
# The files below have the real formats and few images. torchvision compares what it downloads, and CIFAR-10's
# batches also when it reads them, with md5 sums; the tests put in the sums of these files, so that the comparison
# itself still runs (a damaged file is refused, below).


def md5(blob):
    return hashlib.md5(blob, usedforsecurity=False).hexdigest()


def idx(array):
    """The IDX format: two zero bytes, the type (8: unsigned byte), the number of axes, their lengths, the values."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def draw(n, *shape, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, *shape), dtype=np.uint8)
    images.flat[:2] = 0, 255
    return images, rng.integers(0, 10, n, dtype=np.uint8)


def mnist_files():
    """The four files by name, and the two pairs (images, labels)."""
    train, test = draw(6, 28, 28), draw(4, 28, 28, seed=1)
    return {
        "train-images-idx3-ubyte": idx(train[0]),
        "train-labels-idx1-ubyte": idx(train[1]),
        "t10k-images-idx3-ubyte": idx(test[0]),
        "t10k-labels-idx1-ubyte": idx(test[1]),
    }, (train, test)


def cifar_files(monkeypatch):
    """CIFAR-10's six pickled batches and its list of names; torchvision is told their sums."""
    from torchvision.datasets import CIFAR10

    files, pairs = {}, []
    for i, (name, _) in enumerate(CIFAR10.train_list + CIFAR10.test_list):
        images, labels = draw(3, 3, 32, 32, seed=i)
        files[name] = pickle.dumps({"data": images.reshape(3, 3072), "labels": labels.tolist(), "batch_label": name}, 2)
        pairs.append((images, labels))
    files["batches.meta"] = pickle.dumps({"label_names": [f"class {i}" for i in range(10)]}, 2)
    monkeypatch.setattr(CIFAR10, "train_list", [[n, md5(files[n])] for n, _ in CIFAR10.train_list])
    monkeypatch.setattr(CIFAR10, "test_list", [[n, md5(files[n])] for n, _ in CIFAR10.test_list])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": md5(files["batches.meta"])})
    train = tuple(np.concatenate(parts) for parts in zip(*pairs[:5], strict=True))
    return files, (train, pairs[5])


def write(folder, files):
    folder.mkdir(parents=True)
    for name, blob in files.items():
        (folder / name).write_bytes(blob)


def expect_images(got, images, labels):
    assert got[0].dtype == torch.float32 and got[0].min() == -1 and got[0].max() == 1 and got[0].is_contiguous()
    torch.testing.assert_close(got[0], torch.from_numpy(images).float() / 127.5 - 1)
    assert got[1].dtype == torch.int64 and got[1].tolist() == labels.tolist()


@pytest.fixture
def serve(tmp_path):
    """Serve a folder on a local port, in the place of the data sets' hosts; the address."""
    folder = tmp_path / "host"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST"])
def test_mnist_files_are_read(tmp_path, name):
    files, (train, test) = mnist_files()
    write(tmp_path / name / "raw", files)
    expect_images(data.torchvision_images(name, tmp_path), train[0][:, None], train[1])
    expect_images(data.torchvision_images(name, str(tmp_path), train=False), test[0][:, None], test[1])


def test_mnist_is_downloaded_and_unpacked(tmp_path, monkeypatch, serve):
    from torchvision.datasets import MNIST

    folder, address = serve
    files, (train, _) = mnist_files()
    packed = {f"{name}.gz": gzip.compress(blob) for name, blob in files.items()}
    for name, blob in packed.items():
        (folder / name).write_bytes(blob)
    monkeypatch.setattr(MNIST, "mirrors", [address])
    monkeypatch.setattr(MNIST, "resources", [(n, md5(packed[n])) for n, _ in MNIST.resources])
    root = tmp_path / "root"
    expect_images(data.torchvision_images("MNIST", root, download=True), train[0][:, None], train[1])
    expect_images(data.torchvision_images("MNIST", root), train[0][:, None], train[1])


def test_cifar_files_are_read(tmp_path, monkeypatch):
    files, (train, test) = cifar_files(monkeypatch)
    write(tmp_path / "cifar-10-batches-py", files)
    expect_images(data.torchvision_images("CIFAR10", tmp_path), *train)
    expect_images(data.torchvision_images("CIFAR10", tmp_path, train=False), *test)


def test_cifar_is_downloaded_and_unpacked(tmp_path, monkeypatch, serve):
    from torchvision.datasets import CIFAR10

    folder, address = serve
    files, (_, test) = cifar_files(monkeypatch)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, blob in files.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(blob)
            tar.addfile(member, io.BytesIO(blob))
    (folder / CIFAR10.filename).write_bytes(packed.getvalue())
    monkeypatch.setattr(CIFAR10, "url", address + CIFAR10.filename)
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(packed.getvalue()))
    expect_images(data.torchvision_images("CIFAR10", tmp_path / "root", train=False, download=True), *test)


@pytest.mark.parametrize("name", data.IMAGE_SETS)
def test_missing_files_are_named_with_what_to_do(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=f"{name} is not in root=.*pass download=True"):
        data.torchvision_images(name, tmp_path)


def test_damaged_files_are_refused(tmp_path, monkeypatch):
    files, _ = cifar_files(monkeypatch)
    write(tmp_path / "cifar-10-batches-py", files | {"data_batch_3": files["data_batch_3"][:-1]})
    files, _ = mnist_files()
    write(tmp_path / "MNIST" / "raw", files | {"train-images-idx3-ubyte": files["train-images-idx3-ubyte"][:-1]})
    for name in ("CIFAR10", "MNIST"):
        with pytest.raises(FileNotFoundError, match=f"{name} .*its files are damaged"):
            data.torchvision_images(name, tmp_path)


@pytest.mark.parametrize("name", data.IMAGE_SETS)
def test_without_a_connection_the_error_says_so(tmp_path, monkeypatch, name):
    from torchvision import datasets

    with socket.socket() as free:  # a port on which nobody answers
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/"
        kind = getattr(datasets, name)
        if name == "CIFAR10":
            monkeypatch.setattr(kind, "url", address)
        else:
            monkeypatch.setattr(kind, "mirrors", [address])
        with pytest.raises(ConnectionError, match=f"{name} could not be downloaded into.*Check the connection"):
            data.torchvision_images(name, tmp_path, download=True)


def test_unknown_sets_are_named(tmp_path):
    with pytest.raises(ValueError, match="name is 'ImageNet'; expected one of MNIST, FashionMNIST, CIFAR10"):
        data.torchvision_images("ImageNet", tmp_path)


def test_without_torchvision_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ImportError, match="pip install torchvision"):
        data.torchvision_images("MNIST", tmp_path)
