"""Fixtures that several test modules share."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before torch is imported. Small tensors are faster so; and with two threads LAPACK's inverse of 8×8 matrices
# was seen not to return, on an Intel CPU with AMX, after the tests of digits-net.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The models of the tests, which no file of config/systems names.
os.environ["MARSCF_MODELS"] = "tiny_model.Tiny,tiny_model.Unable,tests.evaluation.conftest.GaussianFlow"

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def forks_can_train() -> None:
    """Make the process's first backward pass a plain one, on the CPU.

    Where it is that of a compiled model, torch starts threads, and then no fork of the process can train: the
    campaigns fork.
    """
    import torch

    torch.ones((), requires_grad=True).backward()


@pytest.fixture(scope="session")
def mirror() -> Path:
    """Folder with the publishers' files, named by MARSCF_MIRROR; without it the test is skipped."""
    folder = os.environ.get("MARSCF_MIRROR")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs real data: set MARSCF_MIRROR to a folder with the publishers' files")
    return Path(folder)


@pytest.fixture
def workplace(tmp_path, monkeypatch) -> Path:
    """A working directory of its own with the repository's `config/`, as after a clone."""
    (tmp_path / "config").symlink_to(REPOSITORY / "config")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def own_config(workplace) -> Path:
    """A copy of `config/` to edit, in such a working directory."""
    config = workplace / "config"
    config.unlink()
    shutil.copytree(REPOSITORY / "config", config)
    return config


@pytest.fixture
def s3(monkeypatch) -> Iterator[str]:
    """A bucket on a local S3 server, which the environment names as it would any other; its address."""
    import boto3
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    settings = {"ENDPOINT_URL": "http://{}:{}".format(*server.get_host_and_port())}
    settings |= {"ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test", "DEFAULT_REGION": "us-east-1"}
    for name, value in settings.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    s3fs.S3FileSystem.clear_instance_cache()  # of an earlier test's server
    boto3.client("s3").create_bucket(Bucket="bucket")
    yield "s3://bucket"
    server.stop()
