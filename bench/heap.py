"""What a script costs in memory: calls for more of it, page faults, and what a worker still has afterwards."""

import pathlib
import socket
import statistics
import time

import calls
from load import all_ask
from world import HEADERS, SCRIPT

# How many ask at a time, and how many where the memory is measured that stays.
CLIENTS = 4
MANY = 64


def faults(pid):
    return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[7])


def resident(pid):
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(text.partition("\nRss:")[2].split()[0]) * 1024


def one(nginx, scripts):
    """(brk per script, page faults per script, bytes of a worker after many scripts at once)"""
    with nginx:
        nginx.warm_up()
        worker = nginx.worker()
        all_ask(nginx, CLIENTS, scripts // CLIENTS, SCRIPT)
        with calls.counted(nginx) as counted:
            all_ask(nginx, CLIENTS, scripts // CLIENTS, SCRIPT)
        before = faults(worker)
        all_ask(nginx, CLIENTS, scripts // CLIENTS, SCRIPT)
        fault = (faults(worker) - before) / scripts
        for _ in range(3):
            all_ask(nginx, MANY, 2, SCRIPT)
        return counted.get("brk", 0) / scripts, fault, resident(worker)


def stalled(nginx, clients):
    """Bytes of a worker that a client holds which asks for something large and does not read."""
    words = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    request = f"GET {SCRIPT} HTTP/1.1\r\n{words}\r\n".encode()
    with nginx:
        nginx.warm_up()
        # Where there is a cache it has the reply then.
        all_ask(nginx, 1, 2, SCRIPT)
        worker = nginx.worker()
        before = now = resident(worker)
        sockets = []
        for _ in range(clients):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", nginx.port))
            client.sendall(request)
            sockets.append(client)
        # Until it takes no more.
        last = -1
        while now != last:
            last = now
            time.sleep(1)
            now = resident(worker)
        for client in sockets:
            client.close()
    return (now - before) / clients


def measure(contenders, scripts, rounds):
    """Medians by name of contender."""
    return {
        nginx.name: [statistics.median(figures) for figures in zip(*(one(nginx, scripts) for _ in range(rounds)))]
        for nginx in contenders
    }
