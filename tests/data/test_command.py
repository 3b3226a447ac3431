"""`marscf data` as a user meets it."""

import pytest

from marscf.cli import main


def test_help_shows_examples_and_defaults(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["data", "--help"])
    text = capsys.readouterr().out
    assert ended.value.code == 0
    assert "marscf data cifar10 --mirror" in text and "data/datasets" in text and "MARSCF_MIRROR" in text


def test_unknown_dataset_names_the_nearest_in_one_line(workplace, capsys):
    assert main(["data", "cifar"]) == 2
    error = capsys.readouterr().err
    assert "unknown dataset 'cifar'; did you mean 'cifar10'?" in error and error.count("\n") == 1


def test_digits_are_prepared_and_found_again(workplace, capsys):
    assert main(["data", "digits", "--offline"]) == 0
    assert "train 1,257, val 180, test 360 images of 1×8×8; prepared" in capsys.readouterr().out
    assert main(["data", "digits"]) == 0
    assert "already prepared, verified" in capsys.readouterr().out


def test_environment_names_the_mirror_and_forbids_the_network(workplace, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("MARSCF_OFFLINE", "1")
    monkeypatch.delenv("MARSCF_MIRROR", raising=False)
    assert main(["data", "mnist"]) == 2
    assert "--offline forbids" in capsys.readouterr().err
    monkeypatch.setenv("MARSCF_MIRROR", str(tmp_path / "m"))
    assert main(["data", "mnist"]) == 2
    assert f"no file {tmp_path}/m/mnist/train-images-idx3-ubyte.gz" in capsys.readouterr().err


def test_imagenet_says_where_it_is_to_be_had(workplace, capsys, monkeypatch):
    monkeypatch.delenv("MARSCF_MIRROR", raising=False)
    assert main(["data", "imagenet32"]) == 2
    error = capsys.readouterr().err
    assert "academictorrents.com" in error and "data/sources/imagenet32/train_32x32.tar" in error
