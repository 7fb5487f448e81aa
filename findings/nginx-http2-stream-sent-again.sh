#!/bin/sh
# nginx 1.22.1-9 of Debian 12: grpc_pass loses a request that it sends again after a kept connection has failed.
#
# One would expect that a GET is answered whose kept connection ends without a reply: nginx sends it again on a new one, as
# proxy_pass does. It does so, but its HEADERS frame still has the number of the stream on the old connection, and the reply
# to that is taken for somebody else's ("upstream sent frame for unknown stream 3"): 502. Here it matters since the same
# code is behind "proxy_http_version 2" of nginx 1.29.4 and newer. The module writes the number anew.
set -eu
work=$(mktemp -d)
chmod 755 "$work"
trap '[ ! -s "$work/nginx.pid" ] || kill "$(cat "$work/nginx.pid")"; kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
server=
apt-get download -q -o APT::Sandbox::User=root 'nginx=1.22.1-9*'
dpkg-deb --extract nginx_*.deb root
ls nginx_*.deb
mkdir logs
cat >server.py <<'END'
"""HTTP/2 on a socket, one request on each connection: the first connection ends at its second request."""
import os, socket, threading

FRAME = lambda kind, flags, stream, payload: len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
connections = []

def serve(sock, number):
    data, requests = b"", 0
    sock.sendall(FRAME(4, 0, 0, b""))
    while chunk := sock.recv(65536):
        data += chunk
        if data.startswith(b"PRI"):
            data = data[24:]
        while len(data) >= 9 and len(data) >= 9 + int.from_bytes(data[:3], "big"):
            length, kind, stream = int.from_bytes(data[:3], "big"), data[3], int.from_bytes(data[5:9], "big")
            data = data[9 + length:]
            if kind == 1:
                requests += 1
                print(f"connection {number}: stream {stream}", flush=True)
                if number == 1 and requests == 2:
                    sock.close()
                    return
                # ":status: 200" by its index, and a body.
                sock.sendall(FRAME(1, 4, stream, b"\x88") + FRAME(0, 1, stream, b"x"))

listener = socket.socket(socket.AF_UNIX)
listener.bind("server.sock")
os.chmod("server.sock", 0o777)
listener.listen()
while True:
    sock, _ = listener.accept()
    connections.append(sock)
    threading.Thread(target=serve, args=(sock, len(connections)), daemon=True).start()
END
python3 server.py >served &
server=$!
while [ ! -S server.sock ]; do sleep 0.1; done
cat >nginx.conf <<END
pid $work/nginx.pid;
events {}
http {
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
    upstream server { server unix:$work/server.sock; keepalive 4; }
    server {
        listen unix:$work/nginx.sock;
        location / { grpc_pass grpc://server; }
    }
}
END
root/usr/sbin/nginx -p "$work" -c nginx.conf -e logs/error.log
for _ in 1 2; do
    curl -q -sS -o /dev/null -w 'status %{http_code}\n' --unix-socket nginx.sock http://localhost/
done | tee printed
cat served
sed -n 's/.*\(upstream sent frame for unknown stream [0-9]*\).*/\1/p' logs/error.log
grep -qx 'status 200' printed
grep -qx 'status 502' printed
grep -qx 'connection 2: stream 3' served
