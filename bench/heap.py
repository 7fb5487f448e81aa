"""What a script costs in memory: calls for more of it, page faults, and what a worker still has afterwards."""

import pathlib
import socket
import statistics
import subprocess
import time

import calls
from contenders import Nginx, ours
from load import all_ask
from uploads import VERSIONS
from world import HEADERS, SCRIPT, UPLOAD

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
        before = resident(worker)
        sockets = []
        for _ in range(clients):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", nginx.port))
            client.sendall(request)
            sockets.append(client)
        took = settled(worker) - before
        for client in sockets:
            client.close()
    return took / clients


def uploading(world, version, uploads):
    """Bytes of a worker for each upload whose client is fast, while the Frontend API reads nothing."""
    body = world.folder / "upload"
    body.write_bytes(bytes(2 << 20))
    http = ours().replace("%PORT%;", "%PORT% http2;") if version == "HTTP/2" else ours()
    with socket.create_server(("127.0.0.3", 0), backlog=uploads + 2) as deaf:
        # What is accepted later has as little room.
        deaf.settimeout(20)
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        upstream = f"clerk_secret_key upstream=http://127.0.0.3:{deaf.getsockname()[1]}; clerk_proxy_warm 0;"
        nginx = Nginx(world, f"{version} uploads", http.replace("clerk_secret_key;", upstream))
        with nginx:
            worker = nginx.worker()
            command = ["curl", "-q", "-sS", VERSIONS[version], "-X", "POST", "-T", body, "-H", "Expect:"]
            url = f"http://127.0.0.1:{nginx.port}{UPLOAD}"
            quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            curls, held = [], []

            def hold(number):
                """What the worker has at most while it has so many more; the system ends a connection whose other side
                takes nothing for 20 s."""
                curls.extend(subprocess.Popen([*command, url], **quiet) for _ in range(number))
                held.extend(deaf.accept() for _ in range(number))
                return max(after(0.1, resident, worker) for _ in range(20))

            # The first have the worker get what all use.
            took = -hold(2) + hold(uploads)
            for curl in curls:
                curl.kill()
                curl.wait()
            for connection, _ in held:
                connection.close()
    return took / uploads


def after(seconds, what, worker):
    time.sleep(seconds)
    return what(worker)


def settled(worker):
    """What a worker has once it takes no more."""
    last, now = -1, resident(worker)
    while now != last:
        last = now
        time.sleep(1)
        now = resident(worker)
    return now


def measure(contenders, scripts, rounds):
    """Medians by name of contender."""
    return {
        nginx.name: [statistics.median(figures) for figures in zip(*(one(nginx, scripts) for _ in range(rounds)))]
        for nginx in contenders
    }
