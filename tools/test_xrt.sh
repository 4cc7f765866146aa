#!/bin/sh
# Hold the stand-in to the real pyxrt, and the command line beside it, where no NPU is present.
# Debian's package goes into a root of its own below build/. Needs root and debootstrap.
# MIRROR: another Debian mirror. PIP: the pip that fetches the wheels; its configuration counts,
# and the root itself needs no network (its Python may refuse certificates that this one takes).
set -eu
cd "$(dirname "$0")/.."
root=$PWD/build/xrt-root
command -v debootstrap >/dev/null || { echo "error: debootstrap is not installed" >&2; exit 2; }
[ -e "$root/.complete" ] || {
    debootstrap --variant=minbase --include=python3,python3-venv,python3-xrt,libxrt-npu2 \
        sid "$root" ${MIRROR:+"$MIRROR"}
    touch "$root/.complete"
}
rm -rf "$root/work" && mkdir "$root/work"
git ls-files -z | xargs -0 cp --parents -t "$root/work"

# The mounts end with the command: they are in a namespace of its own.
run() {
    unshare --mount sh -euc '
        for folder in proc sys dev; do mount --rbind /$folder "$1/$folder"; done
        exec chroot "$1" sh -euc "cd /work && PATH=/venv/bin:\$PATH && $2"' - "$root" "$1"
}
[ -e "$root/venv" ] || run "python3 -m venv /venv"
${PIP:-pip} download --quiet --dest "$root/wheels" --only-binary :all: \
    --python-version "$(run "python3 -c 'import platform; print(platform.python_version())'")" \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 \
    --platform manylinux2014_x86_64 '.[dev]' hatchling
run "pip install --quiet --no-index --find-links /wheels '.[dev]'"

run "pytest tests/engines/npu/standin/test_pyxrt.py tests/engines/npu/test_xrt.py tests/engines/npu/test_remote.py"
fails_without_a_device() {
    status=0
    said=$(run "$1" 2>&1) || status=$?
    echo "$said"
    [ "$status" = 3 ] || { echo "error: $1 ended with $status, not 3" >&2; exit 1; }
    case $said in *"no AMD NPU"* | *"virtual machine"*) ;; *) echo "error: no reason" >&2; exit 1 ;; esac
}
fails_without_a_device "whisper-npu doctor --device npu"
fails_without_a_device "whisper-npu transcribe samples/*.wav --model demo --device npu"
