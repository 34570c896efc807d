"""Ports of servers."""

from local.cloud import ports


def test_free_port_is_none_that_outgoing_connections_take() -> None:
    assert ports.free_port() in ports.SERVERS
    assert ports.SERVERS[-1] < 32768  # where Linux begins by default


def test_port_that_is_held_is_not_given_again() -> None:
    with ports.bind_free() as held:
        assert ports.bind(held.getsockname()[1]) is None
