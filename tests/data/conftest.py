"""The small source files that tests of this folder share."""

import socket

import pytest
from tiny_sources import TinyMnist


@pytest.fixture
def tiny(tmp_path):
    return TinyMnist(tmp_path)


@pytest.fixture
def no_socket(monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", forbidden)
    monkeypatch.setattr(socket, "create_connection", forbidden)
    monkeypatch.setattr(socket, "getaddrinfo", forbidden)
