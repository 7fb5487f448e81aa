#!/bin/sh
# h2o (2.2.5+dfsg2-7 of Debian 12): a Location of the upstream loses a slash where the path of proxy.reverse.url has none.
#
# One would expect that the path "/__clerk" with proxy.reverse.url "http://upstream/", with which requests for /__clerk/v1
# arrive as /v1, maps redirects back the same way. Location: http://upstream/v1/y becomes http://host/__clerkv1/y; with the
# path "/__clerk/" it becomes http://host/__clerk/v1/y. Here it matters since a proxy URL is written without a slash, and
# since all requests but redirects work.
set -eu
work=$(mktemp -d)
pid=""
trap '[ -z "$pid" ] || kill "$pid"; rm -rf "$work"' EXIT
cd "$work"
apt-get download -q -o APT::Sandbox::User=root 'h2o=2.2.5+dfsg2-7*' libwslay1
for package in *.deb; do dpkg-deb --extract "$package" root; done
ls h2o_*.deb
port=$(($(od -An -N2 -tu2 /dev/urandom) % 12000 + 20000))
up=http://127.0.0.1:$((port + 1))
cat >h2o.conf <<CONF
hosts:
  upstream:
    listen: { host: 127.0.0.1, port: $((port + 1)) }
    paths:
      "/": { redirect: { status: 307, url: "$up/" } }
  proxy:
    listen: { host: 127.0.0.1, port: $port }
    paths:
      "/__clerk": { proxy.reverse.url: "$up/" }
      "/slash/": { proxy.reverse.url: "$up/" }
CONF
LD_LIBRARY_PATH=$(echo root/usr/lib/*-linux-gnu) root/usr/bin/h2o -c h2o.conf >log 2>&1 &
pid=$!

# location URL: where it redirects to, once h2o listens.
location() {
    curl -q -sS --noproxy '*' --retry 20 --retry-delay 1 --retry-connrefused -o page -w '%{redirect_url}\n' "$1" 2>printed
}
sent=$(location "$up/v1/y")
without=$(location "http://127.0.0.1:$port/__clerk/v1/y")
with=$(location "http://127.0.0.1:$port/slash/v1/y")
echo "Location of the upstream: $sent"
echo "path /__clerk: $without"
echo "path /slash/: $with"
[ "$sent" = "$up/v1/y" ]
[ "$without" = "http://127.0.0.1:$port/__clerkv1/y" ]
[ "$with" = "http://127.0.0.1:$port/slash/v1/y" ]
