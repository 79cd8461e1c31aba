# CPython's own tests of what it asks from the system. Names after a slash are left out: they need a network or a kernel feature that containers lack.
. /opt/programs/files/common.sh
need python3
python3 -c 'import test.test_os' 2>/dev/null || { echo "no test suite here"; exit 77; }
if [ -z "${LONG:-}" ]; then
    python3 -m test -q --timeout 100 test_select test_mmap
    exit
fi
python3 -m test --timeout 600 test_os test_subprocess test_threading test_signal test_mmap test_select
python3 -m test --timeout 600 test_socket -m '*Unix*' -m '*SCM*' -m '*Pair*'
