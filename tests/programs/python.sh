# python3 in everyday use.
. /opt/programs/files/common.sh
need python3
expect hello "$(python3 -c 'print(6 * 7)')" 42
python3 /opt/programs/files/basics.py
