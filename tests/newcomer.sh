# What scripts/newcomer does in its chroot, where /mnt has the documents and the sources.
PATH=/usr/local/sbin:/usr/local/bin:$PATH
home=/home/newcomer
key=sk_live_ofTheNewcomer

# The only block of commands in the file that contains this text.
block() {
    awk -v text="$2" '
        /^ *```/ { if (fenced && shell && index(block, text)) { printf "%s", block; found++ }
            fenced = !fenced; shell = fenced && /```sh$/; block = ""; next }
        fenced { block = block $0 "\n" }
        END { exit found != 1 }' "/mnt/$1"
}

# typed FILE TEXT [SED-SCRIPT]: runs that block in the folder of the sources. What is pasted into it is the key.
typed() {
    block "$1" "$2" >/tmp/block
    sed "${3:-}" /tmp/block >/tmp/typed
    sed 's/^ */newcomer: $ /' /tmp/typed
    chmod 644 /tmp/typed
    (cd "${folder:-$home/clerk-nginx}" && echo "$key" | sudo -u newcomer -H bash -eu -o pipefail /tmp/typed)
}

# A Debian on which nginx serves an application, and a user who may use sudo.
machine() {
    echo "$1" >/etc/suite
    echo 'APT::Get::Assume-Yes "true";' >/etc/apt/apt.conf.d/yes
    apt-get -q update
    apt-get -q install --no-install-recommends sudo nginx openssl curl xz-utils
    useradd --create-home newcomer
    echo 'newcomer ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/newcomer
    # No systemd runs in a chroot.
    cat >/usr/local/bin/systemctl <<'END'
#!/bin/sh
[ "$*" = "restart nginx" ] || exit 1
nginx -s quit
while [ -e /run/nginx.pid ]; do sleep 0.1; done
exec nginx
END
    chmod +x /usr/local/bin/systemctl
    mkdir -p $home/clerk-nginx
    tar -C $home/clerk-nginx --strip-components=1 -xf /mnt/clerk-nginx.tar.xz
    find / -xdev -name '*clerk*' -not -path "$home/*" -not -path '/proc/*' | sort >/tmp/before
    chown -R newcomer: $home
}

from_source() {
    rust=""
    [ "$(cat /etc/suite)" = bookworm ] || rust='s/cargo-web rustc-web/cargo rustc/'
    typed README.md "rustc-web" "$rust"
    typed README.md "./scripts/build"
    clerk-proxy-check --version
    test -s /usr/local/share/man/man1/clerk-proxy-check.1
}

# A certificate for this name that the system trusts.
certificate() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj "/CN=$1" \
        -addext "subjectAltName=DNS:$1" -keyout "/opt/$1.key" -out "/opt/$1.pem"
    cp "/opt/$1.pem" "/usr/local/share/ca-certificates/$1.crt"
    update-ca-certificates
}

# A stand-in of the Frontend API, which hosts has the name for.
frontend_api() {
    certificate frontend-api.clerk.dev
    echo '127.0.0.2 frontend-api.clerk.dev' >>/etc/hosts
    cat >/opt/frontend_api.conf <<'END'
pid /opt/frontend_api.pid;
error_log /opt/frontend_api.log;
events {}
http {
    log_format key '$http_clerk_secret_key';
    access_log /opt/keys.log key;
    client_max_body_size 16m;
    default_type application/json;
    map "$http_clerk_proxy_url $http_clerk_secret_key" $is_right {
        "~^https://app\.example/__clerk sk_live_ofTheNewcomer" 1;
    }
    map $http_origin $is_foreign {
        "" "";
        "https://app.example" "";
        default 1;
    }
    large_client_header_buffers 4 16k;
    server {
        listen 127.0.0.2:443 ssl;
        ssl_certificate /opt/frontend-api.clerk.dev.pem;
        ssl_certificate_key /opt/frontend-api.clerk.dev.key;
        add_header Set-Cookie "__client=$request_id; HttpOnly" always;
        if ($is_right = "") { return 401 '{"errors":[{"code":"proxy_request_invalid_secret_key"}]}'; }
        location = /v1/environment { return 200 '{"auth_config":{"id":"$request_id"},"display_config":{}}'; }
        location = /v1/client {
            if ($is_foreign) { return 400 '{"errors":[{"code":"origin_invalid"}]}'; }
            if ($http_authorization) { return 400 '{"errors":[{"code":"origin_authorization_headers_conflict"}]}'; }
            return 200 '{"response":null,"client":null}';
        }
        location = /.well-known/jwks.json { return 200 '{"keys":[]}'; }
        location = /v1/me/profile_image { return 401 '{"errors":[{"code":"authentication_invalid"}]}'; }
        location = /npm/@clerk/clerk-js@6/dist/clerk.browser.js {
            return 307 /npm/@clerk/clerk-js@6.40.0/dist/clerk.browser.js;
        }
        location /npm/ { default_type application/javascript; return 200 '(()=>{})();'; }
        location / { return 404 '{"errors":[{"code":"resource_not_found","id":"$request_id"}]}'; }
    }
}
END
    nginx -c /opt/frontend_api.conf
}

# The README's first block in Debian's own site, with TLS for app.example.
application() {
    certificate app.example
    site=/etc/nginx/sites-available/default
    cp $site /opt/site
    awk '/^```nginx$/ { in_block = 1; next } /^```$/ && in_block { exit } in_block' /mnt/README.md >/opt/location
    [ "$(wc -l </opt/location)" = 3 ]
    tls='listen 127.0.0.1:443 ssl; ssl_certificate /opt/app.example.pem; ssl_certificate_key /opt/app.example.key;'
    awk -v tls="$tls" 'NR == FNR { location = location $0 "\n"; next } /^}/ && !done { printf "%s", location; done = 1 }
        { sub(/^\tlisten 80 default_server;/, "&\n" tls); print }' \
        /opt/location /opt/site >$site
}

serve() {
    frontend_api
    nginx
    typed README.md "sudo install -m 600 /dev/stdin /etc/nginx/clerk_secret_key"
    [ "$(stat -c '%a %U' /etc/nginx/clerk_secret_key)" = "600 root" ]
    application
    typed README.md "sudo nginx -t && sudo nginx -s reload"
    check
    key=${key}2
    typed docs/operations.md "paste the new key"
    check
    tail -n 1 /opt/keys.log | grep -qx "$key"
    typed docs/operations.md "sudo install -m 644 target/release/"
    check
    nginx -s quit
    nginx -c /opt/frontend_api.conf -s quit
    sed -i /frontend-api/d /etc/hosts
}

# The sample of the README: its command, and what it prints but for times.
check() {
    awk '/^```console$/ { on = 1; next } /^```$/ && on { exit } on' /mnt/README.md >/tmp/sample
    sed -n '1s/^\$ //p' /tmp/sample >/tmp/command
    sed 's/^/newcomer: $ /' /tmp/command
    tries=0
    # A reload is not at once.
    # shellcheck disable=SC2024 # root writes there
    until sudo -u newcomer sh /tmp/command >/tmp/printed; do
        tries=$((tries + 1))
        [ $tries -lt 5 ] || { cat /tmp/printed; exit 1; }
        sleep 1
    done
    for file in sample printed; do sed '1{/^\$/d}; s/first reply after.*//' /tmp/$file >/tmp/$file.plain; done
    diff /tmp/sample.plain /tmp/printed.plain
    echo "newcomer: $(tail -n 1 /tmp/printed)"
}

remove_what_was_built() {
    nginx
    cp /opt/site /etc/nginx/sites-available/default
    nginx -t
    nginx -s reload
    typed docs/operations.md "sudo rm /etc/nginx/modules-enabled/60-clerk-proxy.conf"
    rm /etc/nginx/clerk_secret_key
    clean
}

# nginx works without, and nothing is left.
clean() {
    nginx -t
    if nginx -T 2>/dev/null | grep clerk; then exit 1; fi
    rm -f /usr/local/share/ca-certificates/*.crt
    update-ca-certificates --fresh
    find / -xdev -name '*clerk*' -not -path "$home/*" -not -path '/proc/*' -not -path '/opt/*' | sort >/tmp/after
    diff /tmp/before /tmp/after
    echo "newcomer: removed without a trace"
}

# The sources of a release have a configure of their own.
other_nginx() {
    cp -r /mnt/nginx-1.28.0 $home
    [ -e $home/nginx-1.28.0/configure ] || cp $home/nginx-1.28.0/auto/configure $home/nginx-1.28.0
    chown -R newcomer: $home/nginx-1.28.0
    typed docs/install.md "./scripts/build --nginx-source"
    folder=$home/nginx-1.28.0
    typed docs/install.md "--add-dynamic-module"
    test -s $home/nginx-1.28.0/objs/ngx_http_clerk_proxy_module.so
}

package() {
    cp /mnt/*.deb $home/clerk-nginx
    mark=deb12
    [ "$(cat /etc/suite)" = bookworm ] || mark=deb13
    typed README.md "sudo apt install ./libnginx-mod-http-clerk-proxy" "s/deb12/$mark/"
    nginx -t
    clerk-proxy-check --version
    nginx -T 2>/dev/null | grep -q clerk
    typed docs/operations.md "sudo apt purge libnginx-mod-http-clerk-proxy"
    clean
}
