"""Uploads of a client that is 100 ms away, over HTTP/1.1 and HTTP/2, by way of a relay that lets each byte wait."""

import collections
import os
import select
import socket
import subprocess
import threading
import time

from contenders import Nginx, by_hand, ours
from world import UPLOAD, Failure

ONE_WAY = 0.050
CASES = (("HTTP/2", 1), ("HTTP/2", 10), ("HTTP/1.1", 10))
VERSIONS = {"HTTP/2": "--http2-prior-knowledge", "HTTP/1.1": "--http1.1"}


class Relay:
    """Takes connections for a port; what comes from either side goes on when its time has come, as fast as that side
    takes it."""

    def __init__(self, port):
        self.target = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.target))
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self.carry, args=(one, other), daemon=True).start()

    @staticmethod
    def carry(source, target):
        waiting = collections.deque()
        open_ = True
        try:
            while open_ or waiting:
                wait = max(0, waiting[0][0] - time.monotonic()) if waiting else None
                if open_ and select.select([source], [], [], wait)[0]:
                    data = source.recv(1 << 20)
                    open_ = bool(data)
                    if data:
                        waiting.append((time.monotonic() + ONE_WAY, data))
                elif not open_:
                    time.sleep(wait)
                while waiting and waiting[0][0] <= time.monotonic():
                    target.sendall(waiting.popleft()[1])
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        self.listener.close()


def seconds(relay, body, version):
    """What an upload takes by curl."""
    command = ["curl", "-q", "-sS", "-o", "/dev/null", "-w", "%{http_code} %{time_total}", version]
    command += ["--noproxy", "*", "-H", "Expect:", "-H", "Content-Type: image/png", "--data-binary", f"@{body}"]
    url = f"http://127.0.0.1:{relay.port}{UPLOAD}"
    done = subprocess.run([*command, url], capture_output=True, text=True)
    status, _, took = done.stdout.partition(" ")
    if status != "200":
        raise Failure(f"an upload is answered {status or 'with nothing'}: {done.stderr.strip()}")
    return float(took)


def measure(world, rounds, some=None):
    """{name: {(version, megabytes): seconds}}, the best of the rounds: what waits for a busy machine tells nothing."""
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        # What waits for a busy machine would tell nothing.
        os.setpriority(os.PRIO_PROCESS, 0, -15)
    except PermissionError:
        pass
    found = {}
    for name, http in (
        ("clerk_proxy", ours()),
        ("by-hand.conf", by_hand()),
        ("by-hand.conf without tuning", by_hand(tuned=False)),
    ):
        if some is not None and name not in some:
            continue
        took = found[name] = {}
        for version, option in VERSIONS.items():
            # In clear text a port speaks one of the two.
            nginx = Nginx(world, name, http if version == "HTTP/1.1" else http.replace("%PORT%;", "%PORT% http2;"))
            with nginx:
                relay = Relay(nginx.port)
                for megabytes in [megabytes for other, megabytes in CASES if other == version]:
                    body = nginx.folder / f"{megabytes}.png"
                    body.write_bytes(bytes(range(256)) * (megabytes * 4096))
                    times = [seconds(relay, body, option) for _ in range(rounds)]
                    took[version, megabytes] = min(times)
                relay.close()
    os.setpriority(os.PRIO_PROCESS, 0, usual)
    return found
