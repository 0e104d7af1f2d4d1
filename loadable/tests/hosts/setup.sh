#!/usr/bin/env bash
# Installs what the tests of the hosts need, into the folder VERSO_HOSTS: by default `hosts` in
# cargo's target folder. Run again, it changes nothing.
set -euo pipefail
repository=$(cd "$(dirname "$0")/../../.." && pwd)
hosts=${VERSO_HOSTS:-${CARGO_TARGET_DIR:-$repository/target}/hosts}
python=/usr/bin/python3

if ! "$python" -c "import ensurepip, venv" 2>/dev/null; then
    if [ "$(id -u)" != 0 ]; then
        echo "python3-venv is missing: apt-get install python3 python3-venv" >&2
        exit 1
    fi
    apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y python3 python3-venv
fi

[ -x "$hosts/python/bin/pip" ] || "$python" -m venv "$hosts/python"
"$hosts/python/bin/pip" install --quiet --disable-pip-version-check \
    SQLAlchemy==2.1.9 Django==5.2.19
