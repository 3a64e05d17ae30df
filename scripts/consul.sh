#!/bin/sh
# Fetches Consul, which one test runs, and prints the path of the program: consul.sh DIRECTORY
#
# Debian has it up to bullseye. Its package is unpacked into DIRECTORY, not installed: apt fetches it, with lists of its
# own, from where this machine gets Debian's other packages, and checks Debian's signature. A consul that is installed
# is taken instead. If there is none to be had, the last line on standard error says why.
set -eu

directory=$1
release=bullseye
keys=/usr/share/keyrings/debian-archive-keyring.gpg

refuse() {
    printf '%s\n' "$*" >&2
    exit 1
}

if command -v consul; then
    exit
fi
if [ -x "$directory/usr/bin/consul" ]; then
    echo "$directory/usr/bin/consul"
    exit
fi
command -v apt-get > /dev/null || refuse 'there is no consul, and no apt-get to fetch it with'
[ -r "$keys" ] || refuse "there is no consul, and Debian's keys are not here to fetch it with"
archive=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2> /dev/null | grep -v '^ *#' |
    grep -oE 'https?://[^ ]+/debian/?( |$)' | head -n 1)
[ -n "$archive" ] || refuse "there is no consul, and apt here does not get its packages from Debian's archive"

mkdir -p "$directory"
work=$(mktemp -d "$directory/fetching.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/unpacked"
echo "deb [signed-by=$keys] $archive $release main" > "$work/sources.list"
work=$(cd "$work" && pwd)

get() {
    (cd "$work" && apt-get -qq -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" -o APT::Sandbox::User=root \
        -o Acquire::Languages=none -o Acquire::http::Timeout=15 -o Acquire::Retries=1 "$@") < /dev/null >&2
}

get -o APT::Update::Error-Mode=any update || refuse "the archive of Debian $release cannot be reached"
get download consul || refuse "the archive of Debian $release did not give its package consul"
dpkg-deb -x "$work"/consul_*.deb "$work/unpacked"
# Others may be fetching it too: whoever is first leaves it whole.
mv -T "$work/unpacked/usr" "$directory/usr" 2> /dev/null || [ -x "$directory/usr/bin/consul" ] ||
    refuse "cannot write to $directory"
echo "$directory/usr/bin/consul"
