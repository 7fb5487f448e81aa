"""A network of 20 ms: what is sent to its far address comes back to the near one after 10 ms, from afar.

A device of the kernel's own (tun) gives each packet to this program, which exchanges its addresses, what
leaves all checksums as they are, and hands it back 10 ms later: a connection's first packet is late as well.
"""

import collections
import fcntl
import os
import select
import struct
import subprocess
import time

NEAR, FAR = "10.77.0.1", "10.77.0.2"
ONE_WAY = 0.010
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000


def main():
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", b"far", IFF_TUN | IFF_NO_PI))
    for words in (f"addr add {NEAR}/30 dev far", "link set far up"):
        subprocess.run(["ip", *words.split()], check=True)
    waiting = collections.deque()
    while True:
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            os.write(device, waiting.popleft()[1])
        wait = max(0, waiting[0][0] - now) if waiting else None
        if select.select([device], [], [], wait)[0]:
            packet = os.read(device, 65536)
            # IPv4 alone; the device has a link-local address of IPv6 as well.
            if packet[0] >> 4 == 4:
                packet = packet[:12] + packet[16:20] + packet[12:16] + packet[20:]
                waiting.append((time.monotonic() + ONE_WAY, packet))


main()
