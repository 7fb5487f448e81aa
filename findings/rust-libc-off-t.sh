#!/bin/sh
# Crate libc 0.2.191, Rust 1.95.0, libc6-dev-i386 2.36 of Debian 12: `libc::off_t` is not the off_t of C programs with 32 bits.
#
# One would expect that the crate which has C's types for Rust has that of a file's size as well, all the more as bindgen
# makes the same name of the same header. On i686 `libc::off_t` has 32 bits: it is glibc's type without
# _FILE_OFFSET_BITS=64. nginx, as nearly all programs today, defines that, and its off_t has 64 bits on every machine. Here
# it matters since the sizes of requests and replies are of that type: code that is right with 64 bits does not compile with
# 32, and where only a declaration of one's own says which type a C function takes, the two halves disagree in silence.
# The type of the same name in what bindgen made of nginx's headers is the right one.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download -q -o APT::Sandbox::User=root 'libc6-dev-i386=2.36-9*'
dpkg-deb --extract libc6-dev-i386_*.deb root
export RUSTUP_HOME="$work/rustup"
rustup -q toolchain install 1.95.0 --profile minimal --target i686-unknown-linux-gnu --no-self-update
mkdir src
cat >Cargo.toml <<END
[package]
name = "sizes"
version = "0.0.0"
edition = "2021"
[dependencies]
libc = "=0.2.191"
END

# Says how many bytes each has, as far as a compiler for 32 bits agrees.
for bytes in 4 8; do
    echo "const _: () = assert!(size_of::<libc::off_t>() == $bytes);" >src/lib.rs
    ! cargo +1.95.0 check -q --target i686-unknown-linux-gnu 2>/dev/null || echo "libc::off_t: $bytes"
    for program in '' '#define _FILE_OFFSET_BITS 64'; do
        printf '%s\n#include <sys/types.h>\n_Static_assert(sizeof(off_t) == %s, "");\n' "$program" "$bytes" >sizes.c
        ! gcc -m32 -I root/usr/include -fsyntax-only sizes.c 2>/dev/null || echo "off_t with \"$program\": $bytes"
    done
done | tee printed
grep -qx 'libc::off_t: 4' printed
grep -qx 'off_t with "": 4' printed
grep -qx 'off_t with "#define _FILE_OFFSET_BITS 64": 8' printed
[ "$(wc -l <printed)" = 3 ]
