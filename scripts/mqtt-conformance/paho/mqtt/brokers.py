"""Stands where the Paho client's tests look for their test broker: what they find is a node that runs already."""

import os
import types


class _Node:
    socket = types.SimpleNamespace(getsockname=lambda: ("localhost", int(os.environ["W3B_PORT"])))

    @staticmethod
    def shutdown():
        pass


listeners = types.SimpleNamespace(TCPListeners=types.SimpleNamespace(server=_Node()))


def run(config):
    """The node is started by who runs the tests."""
