# Shared by tools/train and tools/test (sourced, not run): sets $root and $python, a Python with tfft installed.
#
#   tfft_setup ""          the project alone
#   tfft_setup test        with the extra "test"
#   tfft_setup test tpu    with the versions of the TPU stack (constraints/tpu.txt), on TensorFlow for the CPU
#   tfft_setup test,beam beam    with those of the stack for Apache Beam (constraints/beam.txt)
#
# TFFT_VENV names the virtual environment (default: .venv in the repository, .venv-tpu or .venv-beam for these stacks), TFFT_PYTHON
# the Python to make it with.
# A stamp inside the environment holds a hash of all that decides an installation, and the extra that was installed;
# as long as it fits, nothing is done. A lock keeps two concurrent runs from installing into one environment.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export TF_CPP_MIN_LOG_LEVEL="${TF_CPP_MIN_LOG_LEVEL:-3}"

say() { echo "tfft: $*"; }
fail() { echo "tfft: error: $*" >&2; exit 1; }

# Whether $1 is a Python whose version tfft runs on.
fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; }

find_python() {
    local candidate found=""
    for candidate in ${TFFT_PYTHON:+"$TFFT_PYTHON"} python3.11 python3.12 python3 python; do
        if fits "$candidate" && "$candidate" -c "import ensurepip, venv" 2>/dev/null; then echo "$candidate"; return; fi
        found+="${found:+, }$candidate ($("$candidate" --version 2>/dev/null || echo "not found"))"
    done
    fail "tfft needs Python 3.11 or 3.12 with its venv module (TensorFlow Text has no wheel for 3.13)." \
        "Looked at: $found. Install one (on Debian: python3.11 and python3.11-venv), or name one in TFFT_PYTHON."
}

fingerprint() {
    { cat "$root/setup.cfg" "$root/pyproject.toml" "$constraints"; echo "$root"; } | cksum
}

# Whether the stamp says that this very state is installed, with the extra $1 if one is asked for.
installed() {
    local state="" extra=""
    [ -x "$python" ] && [ -f "$stamp" ] || return 1
    { read -r state; read -r extra; } < "$stamp" || true
    [ "$state" = "$(fingerprint)" ] && { [ -z "$1" ] || [ "$extra" = "$1" ]; }
}

tfft_setup() {
    local stack=${2:-default}
    local venv="${TFFT_VENV:-$root/.venv${2:+-$2}}"
    constraints="$root/constraints/$stack.txt"
    mkdir -p "$venv" || fail "cannot make the folder $venv. Set TFFT_VENV to a place you can write to."
    venv=$(cd "$venv" && pwd)
    python="$venv/bin/python" stamp="$venv/tfft-installed"
    installed "$1" && return
    if [ -n "$(ls -A "$venv")" ] && [ ! -f "$venv/pyvenv.cfg" ]; then
        fail "$venv is not empty and no virtual environment. Set TFFT_VENV to another folder."
    fi
    # The lock is on the folder itself. pip inherits it, so an orphaned pip still holds it.
    exec 9< "$venv"
    if command -v flock > /dev/null && ! flock -n 9; then
        say "another run is installing into $venv; waiting for it ..."
        flock 9
    fi
    installed "$1" || install_tfft "$venv" "$1"
    exec 9<&-
}

install_tfft() {
    local venv=$1 extra=$2 log="$1/tfft-install.log" unfinished="$1/tfft-unfinished"
    check_room "$venv" "${extra:+40}"
    rm -f "$stamp"
    make_venv "$venv" "$unfinished"
    touch "$unfinished"
    say "installing tfft and TensorFlow (about 2 minutes and $([ -n "$extra" ] && echo 4 || echo 3.5) GB, once; log: $log)"
    "$python" -m pip install --progress-bar off --no-input --disable-pip-version-check \
        --constraint "$constraints" --editable "$root${extra:+[$extra]}" > "$log" 2>&1 &
    if ! follow $! "$log"; then
        # Before this line pip only resolves and downloads: the environment is as it was.
        grep -q '^Installing collected packages' "$log" || rm -f "$unfinished"
        tail -n 25 "$log" >&2
        fail "the installation failed; the end of its log is above, all of it in $log. Run this again to retry."
    fi
    printf '%s\n%s\n' "$(fingerprint)" "$extra" > "$stamp.new"
    mv "$stamp.new" "$stamp"
    rm -f "$unfinished"
    say "installed in $SECONDS s"
}

# Ends where the disk of the environment $1 has no room for $2 tenths of a GB, 35 without; what it holds already counts as free.
check_room() {
    local need=${2:-35} free held
    free=$(df -Pk "$1" 2> /dev/null | { read -r _; read -r _ _ _ free _; echo "${free:-}"; }) || true
    [[ $free =~ ^[0-9]+$ ]] || return 0
    free=$((free * 1024 / 100000000))
    [ "$free" -lt "$need" ] || return 0
    held=$(du -sk "$1" 2> /dev/null | { read -r held _; echo "${held:-0}"; }) || true
    [ $((free + held * 1024 / 100000000)) -lt "$need" ] || return 0
    fail "tfft and TensorFlow need $((need / 10)).$((need % 10)) GB in $1, and its disk has $((free / 10)).$((free % 10)) GB free." \
        "Make room, or set TFFT_VENV to a folder on another disk."
}

# Makes the environment $1 where there is none, or anew where it is ours and pip was killed while it wrote into it ($2
# exists): pip would take half a package for a whole one.
make_venv() {
    local maker clear=""
    [ ! -f "$2" ] || ! grep -q "^prompt = 'tfft'" "$1/pyvenv.cfg" || clear=--clear
    if [ -n "$clear" ] || ! "$python" -m pip --version > /dev/null 2>&1; then
        maker=$(find_python) || exit 1
        say "making a virtual environment in $1 with $("$maker" --version)"
        "$maker" -m venv --prompt tfft --without-pip $clear "$1" && touch "$2" && "$python" -m ensurepip --default-pip > /dev/null \
            || fail "could not make it. Remove $1 and run this again."
    fi
    fits "$python" || fail "$1 has $("$python" --version); tfft needs 3.11 or 3.12." \
        "Remove that folder, or set TFFT_VENV to another one."
}

# Shows how process $1 (pip, which writes into $2) comes on, and returns its exit code.
follow() {
    local began=$SECONDS next=15 status=0
    trap 'kill '"$1"' 2> /dev/null; exit 130' INT TERM
    while kill -0 "$1" 2> /dev/null; do
        if [ -t 1 ]; then
            printf '\r\033[K  %4d s  %.80s' $((SECONDS - began)) "$(grep '^[CIB][a-z]*ing ' "$2" | tail -n 1)"
        elif [ $((SECONDS - began)) -ge "$next" ]; then
            say "installing ... $((SECONDS - began)) s"
            next=$((next + 15))
        fi
        sleep 0.5
    done
    [ ! -t 1 ] || printf '\r\033[K'
    wait "$1" || status=$?
    trap - INT TERM
    return $status
}
