"""Instructions per request, counted by callgrind, which repeats exactly."""

import itertools
import re

from contenders import Nginx, by_hand, ours
from world import API, HEADERS, SCRIPT, SMALL, run

# What is asked for, and how often in a block: the least; what a browser asks for most, with its cookies and all headers
# of the reply; and a script of 200 KB.
REQUESTS = {"the least": (SMALL, {}, 15), "a browser's": (API, HEADERS, 15), "a script's": (SCRIPT, HEADERS, 5)}

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


def count(nginx: Nginx, blocks=15, hosts=("app.dev",), kind="a browser's"):
    """Instructions per request for each host, by function: of the first quarter of blocks of requests, so that timers
    which fall into others count for nothing."""
    found = []
    # vgdb does not find a process that was forked; what a request costs is the same.
    nginx.top = "master_process off;"
    with nginx.start(VALGRIND):
        client = nginx.client()
        for host in hosts:
            path, headers, requests = REQUESTS[kind]
            headers = {**headers, "Host": host}
            for _ in range(60):
                client.ask(headers=headers)
            for _ in range(requests):
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
            found.append(of_blocks[blocks // 4])
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


def of_requests(costs):
    """Those of the module itself, but for its timers: the rest varies by more than what is asked for."""
    timers = ("::warm::", "::attempt::", "::names::")
    own = {key: cost for key, cost in costs.items() if "clerk_proxy_module" in key[0]}
    return sum(cost for key, cost in own.items() if not any(timer in key[1] for timer in timers))


def measure(world, folder, blocks, kinds, all_of_them):
    """Instructions of ours, also with a status, and by hand, by what is asked for, over TLS and plain HTTP; of all of them
    also of ours without the line for all of a server, and by hand without a regular expression."""
    result = {}
    for kind, way in itertools.product(kinds, ("TLS", "plain")):
        plain = way == "plain"
        contenders = [("clerk_proxy", ours(plain)), ("by-hand.conf", by_hand(plain))]
        if kind != "a script's":
            contenders.append(("clerk_proxy with status", ours(plain, status=True)))
        if all_of_them:
            contenders.append(("clerk_proxy alone", ours(plain, alone=True)))
            contenders.append(("by-hand.conf without rewrite", by_hand(plain, regex=False)))
        found = {
            name: count(Nginx(world, f"{name} {way} {kind}", http), blocks, kind=kind)[0] for name, http in contenders
        }
        result.update({(name, kind, way): sum(costs.values()) for name, costs in found.items()})
        if "clerk_proxy with status" in found:
            counting = of_requests(found["clerk_proxy with status"]) - of_requests(found["clerk_proxy"])
            result["counting", kind, way] = counting
        text = differences(found["clerk_proxy"], found["by-hand.conf"])
        (folder / f"instructions-{way}-{kind.replace(' ', '-')}.txt").write_text(text)
    return result


def of_a_start(command, folder):
    """Instructions of a program that ends by itself."""
    run([*VALGRIND[:2], "--callgrind-out-file=/dev/null", "--log-file=start.log", *command], folder)
    return int(re.search(r"Collected : (\d+)", (folder / "start.log").read_text())[1])
