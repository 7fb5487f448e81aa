"""Uploads over HTTP/3 of a client that is 100 ms away, to an nginx that was built with HTTP/3."""

import asyncio
import os
import ssl
import sys
import time

from contenders import Nginx, by_hand, ours
from uploads import ONE_WAY
from world import UPLOAD, Failure

MEGABYTES = 2


async def upload(port, body):
    """Seconds, the handshake among them; what is sent either way arrives when its time has come."""
    from aioquic.asyncio.client import connect
    from aioquic.asyncio.protocol import QuicConnectionProtocol
    from aioquic.h3.connection import H3_ALPN, H3Connection
    from aioquic.h3.events import HeadersReceived
    from aioquic.quic.configuration import QuicConfiguration

    loop = asyncio.get_running_loop()

    class Late:
        def __init__(self, transport):
            self.transport = transport

        def sendto(self, *packet):
            loop.call_later(ONE_WAY, self.transport.sendto, *packet)

        def __getattr__(self, name):
            return getattr(self.transport, name)

    class Client(QuicConnectionProtocol):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.http = H3Connection(self._quic)
            self.status = loop.create_future()

        def connection_made(self, transport):
            super().connection_made(Late(transport))

        def datagram_received(self, *packet):
            loop.call_later(ONE_WAY, super().datagram_received, *packet)

        def quic_event_received(self, event):
            for found in self.http.handle_event(event):
                if isinstance(found, HeadersReceived) and not self.status.done():
                    self.status.set_result(dict(found.headers)[b":status"])

        async def send(self):
            stream = self._quic.get_next_available_stream_id()
            head = {":method": "POST", ":scheme": "https", ":authority": "app.dev", ":path": UPLOAD}
            head |= {"content-type": "image/png", "content-length": str(len(body))}
            self.http.send_headers(stream, [(name.encode(), value.encode()) for name, value in head.items()])
            self.http.send_data(stream, body, end_stream=True)
            self.transmit()
            return await asyncio.wait_for(self.status, 60)

    about = QuicConfiguration(alpn_protocols=H3_ALPN, server_name="app.dev", verify_mode=ssl.CERT_NONE)
    began = time.monotonic()
    async with connect("127.0.0.1", port, configuration=about, create_protocol=Client) as client:
        if (status := await client.send()) != b"200":
            raise Failure(f"an upload is answered {status.decode()}")
        return time.monotonic() - began


def measure(world, rounds):
    """{name: seconds}, the best of the rounds"""
    # Before the system's, whose cryptography may be too old.
    sys.path.insert(0, os.environ["BENCH_HTTP3_CLIENT"])
    listen = (
        "%PORT% quic; listen 127.0.0.1:%PORT% ssl; ssl_certificate %DIR%/../server.pem; "
        "ssl_certificate_key %DIR%/../server.key;"
    )
    body = bytes(MEGABYTES << 20)
    found = {}
    for name, http in (
        ("clerk_proxy", ours()),
        ("by-hand.conf", by_hand()),
        ("by-hand.conf without tuning", by_hand(tuned=False)),
    ):
        nginx = Nginx(world, f"{name} HTTP3", http.replace("%PORT%;", listen), os.environ["BENCH_HTTP3_MODULE"])
        nginx.program = os.environ["BENCH_HTTP3_NGINX"]
        with nginx:
            found[name] = min(asyncio.run(upload(nginx.port, body)) for _ in range(rounds))
    return found
