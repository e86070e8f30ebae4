#!/bin/sh
# Make, complete or repair the course's virtual environment:
#   tools/setup.sh PYTHON VENV [PIP_OPTION ...]
# VENV/.ready is written last, so its absence means that an earlier call did not finish.
set -eu
python=$1 venv=$2
shift 2
cd "$(dirname "$0")/.."

suits() { # whether this command is a Python that the course runs on; said in words on stderr if not
    command -v "$1" >/dev/null && "$1" - <<'EOF'
import sys
if not (3, 11) <= sys.version_info[:2] <= (3, 14):
    sys.stderr.write("%s is Python %s. " % (sys.executable, sys.version.split()[0]))
    sys.exit(1)
EOF
}

if ! suits "$python"; then
    found=
    if [ "$python" = python3 ]; then # nobody asked for that one
        for other in python3.12 python3.13 python3.11 python3.14; do
            if suits "$other" 2>/dev/null; then
                found=$other
                break
            fi
        done
    fi
    if [ -z "$found" ]; then
        echo "Python 3.11 to 3.14 is needed, and $python is none: install one, or name it with PYTHON=python3.12, say." >&2
        exit 1
    fi
    python=$found
    echo "Taking $python ($(command -v "$python")), for python3 does not suit this course." >&2
fi

# A second call at the same time waits here until the first one ends and so closes its file descriptor 9. Where the
# file system has no locks it goes on at once.
exec 9<tools/setup.sh
waited=0
"$python" - 9<&9 <<'EOF' || waited=$?
import sys
try:
    import fcntl
    try:
        fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("Another set-up is at work here: waiting for it.", flush=True)
        fcntl.flock(9, fcntl.LOCK_EX)
        sys.exit(75)
except (ImportError, OSError):
    pass
EOF
if [ $waited != 0 ]; then
    if [ $waited != 75 ]; then exit $waited; fi # Ctrl-C
    lists="requirements.txt pyproject.toml tools/setup.sh"
    # shellcheck disable=SC2086 # $lists is a list of files
    if [ -e "$venv/.ready" ] && [ -z "$(find $lists -newer "$venv/.ready")" ]; then exit 0; fi # the other made all
fi

if [ -e "$venv/.unfinished" ]; then
    echo "An earlier installation into $venv was interrupted: starting it anew."
    rm -rf "$venv" # made by this script: pip cannot tell which of its packages are whole
fi
if [ -e "$venv" ] && [ ! -e "$venv/.ready" ]; then
    echo "$venv exists, but this course did not make it: use it as it is with ENV=$venv, or name another VENV." >&2
    exit 1
fi
if [ ! -e "$venv" ]; then
    mkdir -p "$venv"
    touch "$venv/.unfinished"
    if "$python" -c 'import ensurepip' 2>/dev/null; then
        "$python" -m venv "$venv"
    else # Debian and Ubuntu keep pip for environments in a package of its own
        echo "This Python cannot give an environment pip: taking it from the package python3-pip-whl."
        "$python" -m venv --without-pip "$venv"
        wheels=$(cd "$venv" && pwd)/pip-whl
        mkdir -p "$wheels/lists/partial" "$wheels/cache/archives/partial"
        apt() { apt-get -q -o "Dir::State::Lists=$wheels/lists" -o "Dir::Cache=$wheels/cache" -o APT::Sandbox::User= "$@"; }
        (cd "$wheels" && apt update && apt download python3-pip-whl && dpkg-deb -x ./*.deb .)
        PYTHONPATH=$(echo "$wheels"/usr/share/python-wheels/pip-*.whl) "$venv/bin/python" -m pip install pip
        rm -rf "$wheels"
    fi
fi
touch "$venv/.unfinished"
if ! "$venv/bin/python" -m pip install "$@" -r requirements.txt -e . || ! "$venv/bin/python" -m pip check; then
    # pip said what is wrong and took back what it had begun: an environment that was complete stays as it was
    if [ -e "$venv/.ready" ]; then rm "$venv/.unfinished"; fi
    exit 1
fi
rm "$venv/.unfinished"
touch "$venv/.ready"
