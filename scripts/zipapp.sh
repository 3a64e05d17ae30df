#!/bin/sh
# Puts beers and all that it needs into one file that runs by itself: zipapp.sh PYTHON FILE
#
# Some of what is in there is native, such as grpcio: the file is for the minor version of this Python and for this kind
# of machine, and says so elsewhere. It unpacks itself once, into ~/.shiv or $SHIV_ROOT.
set -eu

python=$1 file=$2
site=build/zipapp/site
version=$("$python" -c 'import importlib.metadata; print(importlib.metadata.version("beers"))')
minor=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')

rm -rf build/zipapp
mkdir -p build/zipapp "$(dirname "$file")"
install="$python -m pip install -qq --disable-pip-version-check --no-input --no-compile --target $site"
$install --require-hashes --only-binary :all: --requirement requirements/run.txt
# By its name rather than its path: pip would write that down.
$install --no-deps --no-index --find-links dist "beers==$version"
rm -rf "$site/bin"

"$python" - > build/zipapp/fits.py << 'EOF'
import sys
import sysconfig

fit = (*sys.version_info[:2], sysconfig.get_platform())
print(f"""import sys
import sysconfig

here = (*sys.version_info[:2], sysconfig.get_platform())
if here != {fit}:
    sys.exit("beers: this file is for Python %d.%d on %s; here is Python %d.%d on %s" % ({fit} + here))
""")
EOF
"$python" -m shiv --site-packages "$site" --entry-point beers_cli.__main__:main --preamble build/zipapp/fits.py \
    --reproducible --python "/usr/bin/env python$minor" --output-file "$file"
echo "$file, for Python $minor"
