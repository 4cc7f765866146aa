#!/bin/sh
# Hold the stand-in to the real pyxrt, and run the doctor beside it, where no NPU is present.
# Debian's package goes into a root of its own below build/. Needs root and debootstrap.
# MIRROR: another Debian mirror; pip's own variables and configuration are honoured.
set -eu
cd "$(dirname "$0")/.."
root=$PWD/build/xrt-root
command -v debootstrap >/dev/null || { echo "error: debootstrap is not installed" >&2; exit 2; }
[ -e "$root/.complete" ] || {
    debootstrap --variant=minbase --include=python3,python3-venv,python3-xrt,ca-certificates \
        sid "$root" ${MIRROR:+"$MIRROR"}
    touch "$root/.complete"
}
for file in /etc/resolv.conf /etc/pip.conf; do
    [ ! -e "$file" ] || cp -L "$file" "$root$file"
done
rm -rf "$root/work" && mkdir "$root/work"
git ls-files -z | xargs -0 cp --parents -t "$root/work"
run() { chroot "$root" sh -c "cd /work && $1"; }
[ -e "$root/venv" ] || run "python3 -m venv /venv"
run "/venv/bin/pip install --quiet '.[dev]'"
run "/venv/bin/pytest tests/npu/test_standin_surface.py"
status=0
run "/venv/bin/whisper-npu doctor --device npu" || status=$?
[ "$status" = 3 ] || { echo "error: doctor ended with $status, not 3" >&2; exit 1; }
