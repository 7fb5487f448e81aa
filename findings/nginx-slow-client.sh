#!/bin/sh
# nginx 1.22.1-9 of Debian 12 on Linux: proxy_buffers do not bound what a client holds that does not read its reply.
#
# One would expect that with 64 KB of buffers and no temporary files the rest of a reply of 3 MB stays with the origin until
# the client reads. The kernel takes it instead: it lets the send buffer of a fast connection grow up to the third number of
# net.ipv4.tcp_wmem (4 MB), and nginx fills it. With `sndbuf=` in `listen`, which ends that growth, the origin waits. Here
# it matters since cgroup v2 counts such buffers as memory of the container: 400 clients took a gigabyte of the kernel where
# nginx had 10 MB. The container's manifests lower net.ipv4.tcp_wmem and tcp_rmem.
set -eu
work=$(mktemp -d)
clients=""
# The worker process has another user.
chmod 755 "$work"
trap '[ -z "$clients" ] || kill $clients; [ ! -s "$work/nginx.pid" ] || kill "$(cat "$work/nginx.pid")"
    rm -rf "$work"' EXIT
cd "$work"
apt-get download -q -o APT::Sandbox::User=root 'nginx=1.22.1-9*'
dpkg-deb --extract nginx_*.deb root
ls nginx_*.deb
sysctl net.ipv4.tcp_wmem
mkdir logs
head -c 3000000 /dev/zero >script
port=$(($(od -An -N2 -tu2 /dev/urandom) % 12000 + 20000))
cat >nginx.conf <<END
pid $work/nginx.pid;
events {}
http {
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
    proxy_buffers 4 16k;
    proxy_buffer_size 16k;
    proxy_max_temp_file_size 0;
    server { listen unix:$work/origin; root $work; }
    server {
        listen 127.0.0.1:$port;
        listen 127.0.0.1:$((port + 1)) sndbuf=64k;
        location / { proxy_pass http://unix:$work/origin:; }
    }
}
END
root/usr/sbin/nginx -p "$work" -c nginx.conf -e logs/error.log
# Clients that read a byte a second.
for client in "$port" $((port + 1)); do
    curl -q -sS --noproxy '*' --limit-rate 1 --max-time 20 -o /dev/null "http://127.0.0.1:$client/script" 2>printed &
    clients="$clients $!"
done
# queue PORT: how many bytes the kernel has for the client, when they grow no more.
queue() {
    last=""
    now=""
    until [ "$now" ] && [ "$now" = "$last" ]; do
        sleep 1
        last=$now
        now=$(ss -Htn "sport = :$1" | awk '{ print $3 }')
    done
    echo "$now"
}
alone=$(queue "$port")
fixed=$(queue $((port + 1)))
echo "in the send buffer: $alone bytes, and with sndbuf=64k $fixed bytes"
[ "$alone" -gt 1000000 ]
[ "$fixed" -lt 300000 ]
