"""Instructions per request, counted by callgrind, which repeats exactly."""

import itertools

from contenders import Nginx, by_hand, ours
from world import API, HEADERS, SMALL, run

# What is asked for: the least, and what a browser asks for most, with its cookies and all headers of the reply.
REQUESTS = {"the least": (SMALL, {}), "a browser's": (API, HEADERS)}

VALGRIND = (
    "valgrind",
    "--tool=callgrind",
    "--vgdb-prefix=vgdb",
    "--callgrind-out-file=callgrind",
    "--log-file=valgrind.log",
)


def control(nginx, *words):
    run(["vgdb", "--vgdb-prefix=vgdb", f"--pid={nginx.process.pid}", *words], nginx.folder)


def by_function(dump):
    """Instructions of each function itself, by (file that holds it, name), of what callgrind wrote."""
    names = {}
    costs = {}
    called = False

    def name(text):
        number, _, rest = text.partition(" ")
        return names.setdefault(number, rest) if rest else names[number]

    place = function = ""
    for line in dump.splitlines():
        if line.startswith("ob="):
            place = name("o" + line[3:]).rpartition("/")[2]
        elif line.startswith("fn="):
            function = name("f" + line[3:])
        elif line.startswith(("cob=", "cfn=")):
            name(line[1] + line.partition("=")[2])
        elif line.startswith("calls="):
            called = True
        elif line[:1] in "0123456789+-*" and line:
            # The line after a call has what was spent in there.
            if not called:
                key = place, function
                costs[key] = costs.get(key, 0) + int(line.split()[1])
            called = False
    return costs


def count(nginx: Nginx, blocks=9, requests=40, hosts=("app.dev",), kind="a browser's"):
    """Instructions per request for each host, by function: of the median of blocks of requests, so that a
    timer which falls into one of them counts for nothing."""
    found = []
    # vgdb does not find a process that was forked; what a request costs is the same.
    nginx.top = "master_process off;"
    with nginx.start(VALGRIND):
        client = nginx.client()
        for host in hosts:
            path, headers = REQUESTS[kind]
            headers = {**headers, "Host": host}
            for _ in range(60):
                client.ask(path, headers=headers)
            control(nginx, "dump")
            of_blocks = []
            for _ in range(blocks):
                for _ in range(requests):
                    client.ask(path, headers=headers)
                control(nginx, "dump")
                last = max(nginx.folder.glob("callgrind.*"), key=lambda file: int(file.suffix[1:]))
                costs = by_function(last.read_text())
                of_blocks.append({key: cost / requests for key, cost in costs.items()})
            of_blocks.sort(key=lambda costs: sum(costs.values()))
            found.append(of_blocks[blocks // 2])
        client.close()
    return found


def differences(ours, theirs):
    """The functions that make the difference, the dearest first."""
    lines = ["difference       ours    by hand  function\n"]
    for key in sorted({*ours, *theirs}, key=lambda key: -abs(ours.get(key, 0) - theirs.get(key, 0))):
        mine, other = ours.get(key, 0), theirs.get(key, 0)
        if abs(mine - other) >= 1:
            lines.append(f"{mine - other:10.0f} {mine:10.0f} {other:10.0f}  {key[0]}: {key[1]}\n")
    return "".join(lines)


def measure(world, folder, blocks, kinds):
    """Instructions of ours, with and without the line for all of a server, with a status, by hand and by hand without a regular
    expression, by what is asked for, over TLS and plain HTTP."""
    result = {}
    for kind, way in itertools.product(kinds, ("TLS", "plain")):
        plain = way == "plain"
        found = {
            name: count(Nginx(world, f"{name} {way} {kind}", http), blocks, kind=kind)[0]
            for name, http in (
                ("clerk_proxy", ours(plain)),
                ("clerk_proxy alone", ours(plain, alone=True)),
                ("clerk_proxy with status", ours(plain, status=True)),
                ("by-hand.conf", by_hand(plain)),
                ("by-hand.conf without rewrite", by_hand(plain, regex=False)),
            )
        }
        result.update({(name, kind, way): sum(costs.values()) for name, costs in found.items()})
        text = differences(found["clerk_proxy"], found["by-hand.conf"])
        (folder / f"instructions-{way}.txt").write_text(text)
    return result
