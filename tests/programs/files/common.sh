# For all program tests: fail at the first error, know the sizes, compare with what must come out.
set -eu
cd /tmp
need() { for p; do command -v "$p" >/dev/null 2>&1 || { echo "no $p here"; exit 77; }; done; }
# expect NAME GOT WANTED
expect() { [ "$2" = "$3" ] || { printf '%s: got\n%s\nwanted\n%s\n' "$1" "$2" "$3"; exit 1; }; }
# size SHORT LONG: a number for the quick and the long run
size() { if [ -n "${LONG:-}" ]; then echo "$2"; else echo "$1"; fi; }
