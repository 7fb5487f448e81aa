"""A thousand tenants in one configuration, against as many stock locations that verify nothing."""

import os
import pathlib
import signal
import subprocess
import time

import instructions
from contenders import CONFIGS, Nginx, ours
from world import until

TENANTS = 1000


def tenants(server):
    """A `server {}` for each tenant, with a name, a proxy URL and a key of its own."""
    text = ["    server_names_hash_max_size 8192;\n"]
    for number in range(1, TENANTS + 1):
        name = f"t{number:04}.app.dev"
        one = server.replace("https://app.dev/", f"https://{name}/").replace(
            "file:%DIR%/clerk_secret_key", "%KEY%"
        )
        one = one.replace("%KEY%", f"%KEY%{number:04}").replace(
            "%PORT%;", f"%PORT%;\n        server_name {name};"
        )
        text.append(one)
    return "".join(text)


def contenders(world):
    return [
        Nginx(world, "1000 clerk_proxy", tenants(ours())),
        Nginx(world, "1000 stock", tenants((CONFIGS / "snippet.conf").read_text())),
    ]


def prepared(nginx):
    """The command of `nginx -t`, which does what a start does."""
    nginx.folder = nginx.world.make_folder(nginx.name)
    nginx.port = nginx.world.next_port()
    command, _ = nginx.prepare()
    return [*command, "-t"]


def start(nginx):
    """Processor time in seconds of a start."""
    command = prepared(nginx)
    with open(nginx.folder / "output.log", "wb") as log:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(nginx.output())
    return usage.ru_utime + usage.ru_stime


def reload(nginx):
    """(bytes after the start, processor time in seconds of a reload, bytes after it)"""
    with nginx:
        nginx.worker()
        time.sleep(1)
        first = nginx.process.memory()
        old = nginx.worker()
        master = pathlib.Path(f"/proc/{nginx.process.pid}/schedstat")
        before = int(master.read_text().split()[0])
        nginx.process.signal(signal.SIGHUP)
        until(lambda: old not in nginx.process.workers() and nginx.worker(), "the reload", 120)
        took = int(master.read_text().split()[0]) - before
        time.sleep(1)
        return first, took / 1e9, nginx.process.memory()


def measure(world, rounds):
    """{name: {figure: [of each round]}}"""
    result = {}
    both = contenders(world)
    for _ in range(rounds):
        for nginx in both:
            figures = result.setdefault(
                nginx.name, {"start": [], "memory": [], "reload": [], "reload memory": []}
            )
            figures["start"].append(start(nginx))
            memory, took, after = reload(nginx)
            figures["memory"].append(memory)
            figures["reload"].append(took)
            figures["reload memory"].append(after)
    return result


def instructions_of_starts(world):
    """Instructions of a start, ours and stock."""
    return [instructions.of_a_start(prepared(nginx), nginx.folder) for nginx in contenders(world)]


def first_and_last(world):
    """Instructions per request of the first and of the last tenant."""
    hosts = ("t0001.app.dev", f"t{TENANTS:04}.app.dev")
    return [sum(one.values()) for one in instructions.count(contenders(world)[0], 5, hosts=hosts)]
