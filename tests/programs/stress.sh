# stress-ng's stressors of what a sentry does most.
. /opt/programs/files/common.sh
need stress-ng
S=$(size 2 60)
for s in cpu vm fork pipe futex signal timer mmap switch; do
    case $s in
    vm) opts="--vm-bytes 64m" ;;
    mmap) opts="--mmap-bytes 64m" ;;
    signal) s=kill opts= ;;
    *) opts= ;;
    esac
    # shellcheck disable=SC2086
    stress-ng --"$s" 2 $opts --timeout "${S}s" --temp-path /tmp --quiet || { echo "stressor $s failed"; exit 1; }
done
