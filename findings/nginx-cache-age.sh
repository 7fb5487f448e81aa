#!/bin/sh
# nginx 1.22.1-9 of Debian 12: proxy_cache does not count Age, and looks for "*" in Vary only where it stands alone.
#
# One would expect (RFC 9111, 4.2.3 and 4.1) that a reply with "max-age=600" and "Age: 600" is stale as it comes, that a
# reply from the cache says how old it is now, and that "Vary: Accept-Encoding, *" keeps a reply from being used again.
# nginx serves each of them from its cache, the first for ten minutes more and with the Age that it came with. Here it
# matters since the Frontend API is behind a CDN, which keeps its scripts and says Age: they would be kept for up to twice
# their time. The module takes Age from that time, says it, and keeps nothing that varies with anything.
set -eu
work=$(mktemp -d)
# The worker process has another user.
chmod 755 "$work"
trap '[ ! -s "$work/nginx.pid" ] || kill "$(cat "$work/nginx.pid")"; rm -rf "$work"' EXIT
cd "$work"
apt-get download -q -o APT::Sandbox::User=root 'nginx=1.22.1-9*'
dpkg-deb --extract nginx_*.deb root
ls nginx_*.deb
mkdir logs
cat >nginx.conf <<END
pid $work/nginx.pid;
events {}
http {
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
    proxy_cache_path $work/cache keys_zone=zone:1m use_temp_path=off;
    server {
        listen unix:$work/origin;
        add_header Cache-Control max-age=600;
        location /age { add_header Cache-Control max-age=600; add_header Age 600; return 200 x; }
        location /vary { add_header Cache-Control max-age=600; add_header Vary "Accept-Encoding, *"; return 200 x; }
        location /star { add_header Cache-Control max-age=600; add_header Vary *; return 200 x; }
    }
    server {
        listen unix:$work/cache.sock;
        proxy_cache zone;
        add_header X-Cache \$upstream_cache_status;
        location / { proxy_pass http://unix:$work/origin:; }
    }
}
END
root/usr/sbin/nginx -p "$work" -c nginx.conf -e logs/error.log
ask() {
    curl -q -sS -D - -o /dev/null --unix-socket cache.sock "http://localhost/$1" | tr -d '\r' |
        sed -n "s/^X-Cache: /$1: /p; s/^Age: /$1: age /p; s/^Vary: /$1: vary /p"
}
for path in age vary star; do
    ask "$path" >/dev/null
    ask "$path"
done | tee printed
grep -qx 'age: HIT' printed
grep -qx 'age: age 600' printed
grep -qx 'vary: HIT' printed
grep -qx 'star: MISS' printed
