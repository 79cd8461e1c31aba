# A static Go program: goroutines, preemption signals, children.
. /opt/programs/files/common.sh
[ -x /opt/built/gotest ] || { echo "no Go toolchain"; exit 77; }
expect go "$(/opt/built/gotest)" ok
