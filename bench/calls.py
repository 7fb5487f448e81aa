"""System calls per request of the worker's thread, and memory per idle client connection."""

import contextlib
import signal
import statistics
import subprocess

from contenders import Nginx, by_hand, ours
from world import until

IDLE = 1000


@contextlib.contextmanager
def counted(contender, only=()):
    """Counts the system calls of what answers, by name, all or only some, while the block runs."""
    told, found = contender.folder / "strace.log", {}
    words = ["strace", "-c", "-U", "calls,name", "-o", contender.folder / "calls"]
    if isinstance(contender, Nginx):
        # Not its thread that looks up names, every 10 s, which requests do not ask for.
        pids = [contender.worker()]
    else:
        words.append("-f")
        pids = contender.process.workers()
    words += [word for pid in pids for word in ("-p", str(pid))]
    if only:
        words += ["-e", f"trace={','.join(only)}"]
    with open(told, "wb") as log:
        strace = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    until(lambda: told.read_bytes().count(b" attached") >= len(pids), "strace")
    try:
        yield found
    finally:
        strace.send_signal(signal.SIGINT)
        strace.wait()
    for line in (contender.folder / "calls").read_text().splitlines():
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
