#!/bin/sh
# lighttpd (1.4.69-1 of Debian 12): proxy.header's "map-urlpath" also rewrites a Location that leads to another host.
#
# One would expect that a mapping of URL paths below the proxy leaves a redirect to a host alone that is not behind it.
# The prefix is put into the path of every Location, so that https://other.example/v1/y becomes
# https://other.example/__clerk/v1/y. Here it matters since the Frontend API redirects to pages of the application and to
# OAuth providers, which do not exist under that path.
set -eu
work=$(mktemp -d)
pids=""
# shellcheck disable=SC2086 # a list of words
trap 'kill $pids 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
apt-get download -q -o APT::Sandbox::User=root 'lighttpd=1.4.69-1*'
dpkg-deb --extract lighttpd_*.deb root
ls lighttpd_*.deb
port=$(($(od -An -N2 -tu2 /dev/urandom) % 12000 + 20000))

# start NAME PORT LINE...
start() {
    name=$1
    printf 'server.document-root = "%s"\nserver.bind = "127.0.0.1"\nserver.port = %s\n' "$work" "$2" >"$name.conf"
    shift 2
    printf '%s\n' "$@" >>"$name.conf"
    root/usr/sbin/lighttpd -D -f "$name.conf" -m root/usr/lib/lighttpd 2>"$name.log" &
    pids="$pids $!"
}
start upstream $((port + 1)) 'server.modules = ("mod_redirect")' 'url.redirect = ("" => "https://other.example/v1/y")'
start proxy "$port" 'server.modules = ("mod_proxy")' \
    "proxy.server = (\"/__clerk/\" => ((\"host\" => \"127.0.0.1\", \"port\" => $((port + 1)))))" \
    'proxy.header = ("map-urlpath" => ("/__clerk/" => "/"))'

# location URL: where it redirects to, once the server listens.
location() {
    curl -q -sS --noproxy '*' --retry 20 --retry-delay 1 --retry-connrefused -o page -w '%{redirect_url}\n' "$1" 2>printed
}
sent=$(location "http://127.0.0.1:$((port + 1))/v1/x")
got=$(location "http://127.0.0.1:$port/__clerk/v1/x")
echo "Location of the upstream: $sent"
echo "Location behind lighttpd: $got"
[ "$sent" = https://other.example/v1/y ]
[ "$got" = https://other.example/__clerk/v1/y ]
