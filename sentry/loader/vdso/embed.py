"""Turns a file into a C array: embed.py FILE NAME > HEADER."""
import sys

data = open(sys.argv[1], "rb").read()
print(f"static const unsigned char {sys.argv[2]}[{len(data)}] = {{")
for i in range(0, len(data), 16):
    print("    " + ", ".join(f"0x{b:02x}" for b in data[i:i + 16]) + ",")
print("};")
