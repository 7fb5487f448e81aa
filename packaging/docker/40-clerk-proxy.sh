#!/bin/sh
# Run by the image's entry point before nginx: says what is missing, and leaves a shell behind that reloads nginx when
# the key file has another key. A mounted Secret changes in its place, and nginx reads the file at a reload alone.
set -eu
[ "${CLERK_PROXY_URL:-}" ] || {
    echo "clerk-proxy: set CLERK_PROXY_URL to the proxy URL of the Clerk Dashboard, such as https://app.example/__clerk" >&2
    exit 1
}
file=${CLERK_SECRET_KEY_SOURCE#file:}
[ "$file" != "$CLERK_SECRET_KEY_SOURCE" ] || exit 0

# The shell's own commands alone see the key.
look() {
    key=""
    { read -r key <"$file"; } 2>/dev/null || true
}

look
while seen=$key && sleep 5; do
    look
    [ "$key" != "$seen" ] || continue
    if nginx -tq && nginx -s reload; then
        echo "clerk-proxy: nginx uses the new key" >&2
    else
        echo "clerk-proxy: nginx keeps the key that it has" >&2
    fi
done &
