#!/bin/sh
# See on_gpu.py: every part on the GPU that is here, or in tiny sizes on the CPU where there is none.
set -eu
exec "${PYTHON:-python}" "$(dirname "$0")/on_gpu.py" "$@"
