# Sourced by the other scripts here: `setup KIND REQUIREMENT` installs the project with these requirements into .venv.
# A stamp file holds a digest of the requirements, so that an up-to-date .venv takes a few milliseconds.

setup() {
    local kind="$1" requirement="$2" venv="$root/.venv" stamp
    stamp="$(cat "$root/pyproject.toml" "$root/constraints.txt" | cksum) $root"
    # The dev requirements include the base ones.
    for ready in "$kind" dev; do
        if [ -f "$venv/.ready-$ready" ] && [ "$(cat "$venv/.ready-$ready")" = "$stamp" ]; then return 0; fi
    done
    local python="${PYTHON:-python3}"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
        echo "mlplab needs Python 3.11 or newer; $("$python" --version) is too old. Set PYTHON to another one." >&2
        exit 2
    }
    # Locked, since two commands started at once would install into the same folder.
    exec 9>"$root/.venv.lock"
    if command -v flock >/dev/null; then flock 9; fi
    if ! { [ -f "$venv/.ready-$kind" ] && [ "$(cat "$venv/.ready-$kind")" = "$stamp" ]; }; then
        echo "Setting up $venv (about a minute, once) ..." >&2
        [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
        rm -f "$venv"/.ready-*
        (cd "$root" && PIP_CONSTRAINT="$root/constraints.txt" "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$requirement") >&2
        printf '%s' "$stamp" >"$venv/.ready-$kind"
    fi
    exec 9>&-
}
