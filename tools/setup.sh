#!/bin/sh
# Make, complete or repair the course's virtual environment:
#   tools/setup.sh PYTHON VENV [PIP_OPTION ...]
# VENV/.ready is written last, so its absence means that an earlier call did not finish.
set -eu
python=$1 venv=$2
shift 2
cd "$(dirname "$0")/.."

"$python" - <<'EOF'
import sys
if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    sys.exit(f"Python 3.11 to 3.13 is needed, but {sys.executable} is {sys.version.split()[0]}: "
             "choose another with `make setup PYTHON=python3.12`, say.")
EOF

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
        wheels=$venv/pip-whl
        mkdir -p "$wheels/lists/partial" "$wheels/cache/archives/partial"
        apt="-q -o Dir::State::Lists=$PWD/$wheels/lists -o Dir::Cache=$PWD/$wheels/cache -o APT::Sandbox::User="
        # shellcheck disable=SC2086 # $apt is a list of options
        (cd "$wheels" && apt-get $apt update && apt-get $apt download python3-pip-whl && dpkg-deb -x ./*.deb .)
        PYTHONPATH=$(echo "$PWD/$wheels"/usr/share/python-wheels/pip-*.whl) "$venv/bin/python" -m pip install pip
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
