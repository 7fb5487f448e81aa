#!/bin/sh
# Debian's nginx-common (1.22.1-9 of Debian 12) has /usr/share/nginx/modules, which `load_module modules/…` means, as a
# link to a folder that no package of nginx's core makes.
#
# One would expect that the folder which a relative load_module looks into can take a module. The link dangles until the
# first package of a module is installed: `install -D` and `mkdir -p` fail with "File exists", and `cp` with "not writing
# through dangling symlink". Here it matters since a module that is built from source is often the first: the documents
# install into /usr/lib/nginx/modules, which makes the link good.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download -q -o APT::Sandbox::User=root 'nginx-common=1.22.1-9*'
dpkg-deb --extract nginx-common_*.deb root
ls nginx-common_*.deb
echo "link: $(readlink root/usr/share/nginx/modules)"
echo module >module.so
status=0
install -D -m 644 module.so root/usr/share/nginx/modules/module.so 2>printed || status=$?
cat printed
echo "install -D through the link: exit status $status"
[ "$status" != 0 ]
grep -q 'File exists' printed
install -D -m 644 module.so root/usr/lib/nginx/modules/module.so
cat root/usr/share/nginx/modules/module.so
