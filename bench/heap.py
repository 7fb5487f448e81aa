"""What a script costs in memory: calls for more of it, page faults, and what a worker still has afterwards."""

import pathlib
import statistics
import threading

import calls
from world import SCRIPT, Failure

# How many ask at a time, and how many where the memory is measured that stays.
CLIENTS = 4
MANY = 64


def all_ask(nginx, clients, number):
    """Clients that ask for the script at the same time, so many times each."""
    failed = []

    def ask():
        client = nginx.client()
        try:
            for _ in range(number):
                client.ask(SCRIPT)
        except (Failure, OSError) as failure:
            failed.append(failure)
        client.close()

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise Failure(f"{nginx.name}: {failed[0]}")


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
        all_ask(nginx, CLIENTS, scripts // CLIENTS)
        with calls.counted(nginx) as counted:
            all_ask(nginx, CLIENTS, scripts // CLIENTS)
        before = faults(worker)
        all_ask(nginx, CLIENTS, scripts // CLIENTS)
        fault = (faults(worker) - before) / scripts
        for _ in range(3):
            all_ask(nginx, MANY, 2)
        return counted.get("brk", 0) / scripts, fault, resident(worker)


def measure(contenders, scripts, rounds):
    """Medians by name of contender."""
    return {
        nginx.name: [statistics.median(figures) for figures in zip(*(one(nginx, scripts) for _ in range(rounds)))]
        for nginx in contenders
    }
