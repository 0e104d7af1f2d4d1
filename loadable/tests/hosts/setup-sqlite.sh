#!/usr/bin/env bash
# Builds the newest SQLite into the folder `sqlite` of the hosts (see setup.sh), as
# sqlite3                 the shell, as users have it
# debug/sqlite3           the shell with SQLite's own asserts on
# debug/libsqlite3.so.0   a library that the system's Python loads, by LD_LIBRARY_PATH
#
# The source is that of Debian's unstable suite: it has a release within days, and apt checks what
# it downloads by the keys of Debian. The system's own sources of packages stay as they are. No
# version is pinned, since what the newest SQLite does to Verso is to be seen here first (and the
# suite keeps no other). Run again, it builds only what is newer.
set -euo pipefail
repository=$(cd "$(dirname "$0")/../../.." && pwd)
hosts=${VERSO_HOSTS:-${CARGO_TARGET_DIR:-$repository/target}/hosts}

for program in apt-get gcc make xz; do
    if ! command -v "$program" >/dev/null; then
        echo "$program is missing: on Debian, apt-get install gcc libc6-dev make xz-utils" >&2
        exit 1
    fi
done

mkdir -p "$hosts"
hosts=$(cd "$hosts" && pwd)
work=$(mktemp -d "$hosts/sqlite.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"

mkdir -p parts lists/partial cache/archives/partial
cat >parts/unstable.sources <<'END'
Types: deb-src
URIs: http://deb.debian.org/debian
Suites: sid
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
cat >apt.conf <<END
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "$work/parts";
Dir::State::Lists "$work/lists";
Dir::Cache "$work/cache";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
END
export APT_CONFIG=$work/apt.conf
apt-get update --quiet
version=$(apt-cache showsrc --only-source sqlite3 | sed -n 's/^Version: //p')
if [ "$(cat "$hosts/sqlite/version" 2>/dev/null)" = "$version" ]; then
    echo "SQLite $version is in $hosts/sqlite"
    exit
fi
apt-get source --quiet --download-only sqlite3

mkdir source built built/debug
tar -xJf sqlite3_*.orig.tar.xz -C source --strip-components=1
(
    cd source
    ./configure --disable-tcl --disable-readline
    make sqlite3.c sqlite3.h shell.c
) >log 2>&1 || { cat log >&2; exit 1; }

# What Debian builds it with, as far as it is of the amalgamation.
options=(
    -DSQLITE_THREADSAFE=1 -DSQLITE_USE_URI -DSQLITE_SECURE_DELETE -DSQLITE_MAX_SCHEMA_RETRY=25
    -DSQLITE_ENABLE_COLUMN_METADATA -DSQLITE_ENABLE_UNLOCK_NOTIFY -DSQLITE_ENABLE_PREUPDATE_HOOK
    -DSQLITE_ENABLE_SESSION -DSQLITE_ENABLE_DBSTAT_VTAB -DSQLITE_ENABLE_DBPAGE_VTAB
    -DSQLITE_ENABLE_STMTVTAB -DSQLITE_ENABLE_RTREE -DSQLITE_ENABLE_FTS3 -DSQLITE_ENABLE_FTS5
)
asserts=(-DSQLITE_DEBUG -DSQLITE_ENABLE_API_ARMOR)
compile() { gcc -w -Isource "${options[@]}" "$@" -lm -ldl -lpthread; }
compile -O1 source/shell.c source/sqlite3.c -o built/sqlite3 &
release=$!
compile "${asserts[@]}" -shared -fPIC -Wl,-soname,libsqlite3.so.0 source/sqlite3.c \
    -o built/debug/libsqlite3.so.0
compile "${asserts[@]}" source/shell.c built/debug/libsqlite3.so.0 -Wl,-rpath,'$ORIGIN' \
    -o built/debug/sqlite3
wait "$release"

echo "$version" >built/version
rm -rf "$hosts/sqlite"
mv built "$hosts/sqlite"
echo "SQLite $version is in $hosts/sqlite"
