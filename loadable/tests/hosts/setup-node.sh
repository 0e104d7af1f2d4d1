#!/usr/bin/env bash
# Installs what loadable/tests/node.rs runs: Node, if there is none, and better-sqlite3.
set -euo pipefail
cd "$(dirname "$0")/../../.."

version=12.11.1 # the last that runs on Node 20
folder=${VERSO_HOSTS:-${CARGO_TARGET_DIR:-target}/hosts}/node

install_node() {
    if command -v node && command -v npm; then return; fi >/dev/null
    if [ "$(id -u)" != 0 ]; then
        echo "node or npm is missing: install Node 20 or newer" >&2
        exit 1
    fi
    apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y nodejs npm
}

works() {
    (cd "$folder" && node -e "
        const found = require('better-sqlite3/package.json').version;
        new (require('better-sqlite3'))(':memory:');
        process.exit(found === '$version' ? 0 : 1)") 2>/dev/null
}

install_node
mkdir -p "$folder"
if ! works; then
    # A folder of its own, not that of a package.json further up.
    echo '{ "private": true }' >"$folder/package.json"
    npm install --prefix "$folder" --no-audit --no-fund --save-exact "better-sqlite3@$version"
fi
works || { echo "better-sqlite3 $version does not run with node $(node --version)" >&2; exit 1; }
echo "better-sqlite3 $version is in $folder"
