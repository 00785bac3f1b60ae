#!/usr/bin/env bash
# Installs tfft and the TPU stack into the environment of a Python 3.11. For TPU hosts (tools/tpu_host) and docker/tpu.
#
#   tools/install_tpu.sh .venv/bin/python
#   tools/install_tpu.sh .venv/bin/python --dry-run     prints the pip commands
#
# tensorflow-tpu fills the same package folder as tensorflow, which pip cannot express: tensorflow-text, keras-hub and
# tf-models-official would bring tensorflow along. constraints/tpu.txt is a whole, tested set, so everything in it but
# tensorflow is installed as it stands, without dependencies; then tensorflow-tpu, which finds all it needs but libtpu;
# then tfft. `pip check` misses tensorflow afterwards; that is expected.
set -euo pipefail

python=${1:?usage: tools/install_tpu.sh PYTHON [--dry-run]}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
pins="$root/constraints/tpu.txt"
version=$(sed -n 's/^tensorflow==//p' "$pins")

pip() {
    if [ "${dry_run:-}" ]; then echo "pip $*"; return; fi
    "$python" -m pip "$@"
}
case ${2:-} in
    "") dry_run="" ;;
    --dry-run) dry_run=yes ;;
    *) echo "tfft: error: unknown argument $2; known: --dry-run" >&2; exit 2 ;;
esac
[ "$dry_run" ] || "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || {
    echo "tfft: error: constraints/tpu.txt is a set for Python 3.11; $python is $("$python" --version 2>&1)." >&2
    exit 1
}

requirements=$(mktemp)
trap 'rm -f "$requirements"' EXIT
grep -v -e '^#' -e '^tensorflow==' "$pins" > "$requirements"
options=(--quiet --no-cache-dir --no-input --disable-pip-version-check)

echo "tfft: installing the TPU stack: $(grep -c . "$requirements") packages, then tensorflow-tpu $version and tfft"
pip install "${options[@]}" --no-deps --requirement "$requirements"
pip install "${options[@]}" --constraint "$pins" "tensorflow-tpu==$version"
pip install "${options[@]}" --no-deps --no-build-isolation --editable "$root"
