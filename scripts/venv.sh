#!/bin/sh
# What pixi does, where there is no pixi: keep a virtual environment in .venv, run tasks in it.
#
#   scripts/venv.sh                               make .venv, unless it is there and up to date
#   scripts/venv.sh ENVIRONMENT TASK [ARGUMENT...]  the same, then run that task of pixi.toml
#
# Plain sh, because it has to say what is missing where there is no Python at all. What it says
# goes to stderr: stdout is the task's.
set -eu
cd "$(dirname "$0")/.."

java_needed=17
# The one place that says which Python: requires-python = ">=3.LOWEST,<3.BEYOND"
range=$(sed -n 's/^requires-python = ">=3\.\([0-9]*\),<3\.\([0-9]*\)"$/\1 \2/p' pyproject.toml)
lowest=${range% *}
beyond=${range#* }

say() { printf '%s\n' "$*" >&2; }

# A version manager's uv may be on PATH and still not run.
has_uv() { uv --version >/dev/null 2>&1; }

# Sets `python`: $PYTHON, else the newest suitable one on PATH.
find_python() {
    if [ -n "${PYTHON:-}" ]; then
        set -- "$PYTHON"
        where="Looked at PYTHON:"
    else
        minor=$beyond
        while [ "$minor" -gt "$lowest" ]; do
            minor=$((minor - 1))
            set -- "$@" "python3.$minor"
        done
        set -- "$@" python3 python
        where="Looked on PATH for"
    fi
    looked=
    for python in "$@"; do
        version=$("$python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null) ||
            version=
        minor=${version#3.}
        minor=${minor%%.*}
        case $version in
        3.*)
            found="version $version"
            if [ "$minor" -ge "$lowest" ] && [ "$minor" -lt "$beyond" ]; then
                # Debian and Ubuntu ship Python without what it takes to make an environment.
                has_uv || "$python" -c 'import ensurepip, venv' 2>/dev/null && return
                found="$found, but without venv: install the package python3.$minor-venv"
            fi
            ;;
        "") found=none ;;
        *) found="version $version" ;;
        esac
        looked="$looked${looked:+, }$python ($found)"
    done
    say "Python 3.$lowest or newer, below 3.$beyond, is needed. $where $looked. Install one, e.g." \
        "\`apt-get install python3 python3-venv\` or \`brew install python@3.$((beyond - 1))\`," \
        "name one with \`make PYTHON=/path/to/python\`, or let pixi bring it: https://pixi.sh"
    return 1
}

# The version that a `java` states: 17.0.15, 1.8.0_392, 25-ea; nothing where it does not run, as
# the placeholder does that macOS has in /usr/bin.
java_version() {
    stated=$("$1" -version 2>&1) || return 0
    printf '%s\n' "$stated" | sed -n 's/.*version "\([^"]*\)".*/\1/p' | head -n 1
}

new_enough() {
    major=${1#1.} # Java 8 calls itself 1.8
    major=${major%%[!0-9]*}
    [ "${major:-0}" -ge "$java_needed" ]
}

in_words() { if [ -n "$1" ]; then echo "version $1"; else echo none; fi; }

# Leaves JAVA_HOME and PATH such that Spark, which looks at JAVA_HOME first, finds a good Java.
find_java() {
    at_home=
    if [ -n "${JAVA_HOME:-}" ]; then
        at_home=$(java_version "$JAVA_HOME/bin/java")
        new_enough "$at_home" && return
    fi
    on_path=$(java_version java)
    if new_enough "$on_path"; then
        [ -z "${JAVA_HOME:-}" ] ||
            say "JAVA_HOME=$JAVA_HOME ($(in_words "$at_home")) is left aside for java on PATH ($on_path)."
        unset JAVA_HOME
        return
    fi
    say "Java $java_needed or newer is needed to run Spark. Looked at" \
        "JAVA_HOME${JAVA_HOME:+=$JAVA_HOME} ($(if [ -n "${JAVA_HOME:-}" ]; then in_words "$at_home"; else echo not set; fi))" \
        "and at java on PATH ($(in_words "$on_path")). Install one, e.g." \
        "\`apt-get install openjdk-$java_needed-jdk-headless\` or \`brew install openjdk@$java_needed\`," \
        "or let pixi bring it: https://pixi.sh"
    return 1
}

# What .venv is made from, by content, so that a touched file costs nothing; and where, because a
# moved environment is broken.
made_from() {
    cat pyproject.toml requirements.lock scripts/venv.sh | cksum
    pwd
}

make_venv() {
    python=$("$python" -c 'import sys; print(sys.executable)')
    rm -rf .venv
    if has_uv; then
        say "Making .venv with uv and Python $version: a minute or two, once."
        uv venv --quiet --python "$python" .venv
        uv pip install --quiet --python .venv/bin/python --compile-bytecode \
            --require-hashes -r requirements.lock
        uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation -e .
    else
        say "Making .venv with pip and Python $version: a few minutes, once."
        "$python" -m venv .venv
        .venv/bin/python -m pip install --quiet --require-hashes -r requirements.lock
        .venv/bin/python -m pip install --quiet --no-deps --no-build-isolation -e .
    fi
    # Last, so that an environment whose making was interrupted is made again.
    made_from >.venv/.made-from
}

missing=
# Formatting and linting need no Java.
[ "${1:-}" = ci ] || find_java || missing=java
if [ ! -x .venv/bin/python ] || [ "$(cat .venv/.made-from 2>/dev/null)" != "$(made_from)" ]; then
    find_python || missing=python
    [ -n "$missing" ] || make_venv
fi
[ -z "$missing" ] || exit 1
[ $# -eq 0 ] || exec .venv/bin/python scripts/task.py "$@"
