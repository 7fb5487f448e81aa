"""System calls per request of the worker's thread, and memory per idle client connection."""

import contextlib
import signal
import statistics
import subprocess

from contenders import Nginx, by_hand, ours
from world import until

IDLE = 1000


@contextlib.contextmanager
def counted(nginx):
    """Counts the system calls of the worker's thread, by name, while the block runs."""
    told, found = nginx.folder / "strace.log", {}
    # Without -f: the thread that looks up names, every 10 s, is not asked for by requests.
    words = ["strace", "-c", "-U", "calls,name", "-o", nginx.folder / "calls", "-p", str(nginx.worker())]
    with open(told, "wb") as log:
        strace = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    until(lambda: b"attached" in told.read_bytes(), "strace")
    try:
        yield found
    finally:
        strace.send_signal(signal.SIGINT)
        strace.wait()
    for line in (nginx.folder / "calls").read_text().splitlines():
        number, _, name = line.strip().partition(" ")
        if number.isdigit() and name.strip() != "total":
            found[name.strip()] = int(number)


def count(nginx, requests):
    """System calls per request, by name."""
    with nginx:
        nginx.warm_up()
        client = nginx.client()
        client.ask()
        with counted(nginx) as found:
            for _ in range(requests):
                client.ask()
        client.close()
    return {name: number / requests for name, number in found.items()}


def measure(world, requests):
    return {
        name: count(Nginx(world, name, http), requests)
        for name, http in (
            ("clerk_proxy", ours()),
            ("clerk_proxy alone", ours(alone=True)),
            ("by-hand.conf", by_hand()),
        )
    }


def idle_bytes(nginx):
    """Memory that a client's idle connection takes which has asked once."""
    with nginx:
        nginx.warm_up(200)
        before = nginx.process.memory("Anonymous")
        clients = [nginx.client() for _ in range(IDLE)]
        for client in clients:
            client.ask()
        took = nginx.process.memory("Anonymous") - before
        for client in clients:
            client.close()
    return took / IDLE


def measure_idle(world, rounds):
    """Bytes per idle connection, ours and by hand."""
    return {
        name: statistics.median_low(idle_bytes(Nginx(world, name, http)) for _ in range(rounds))
        for name, http in (("clerk_proxy", ours()), ("by-hand.conf", by_hand()))
    }
