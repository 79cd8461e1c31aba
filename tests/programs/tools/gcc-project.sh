# A middle-sized program by gcc and make: the interpreter's own kind of build, with generated sources, a static library and sanitizers.
. /opt/programs/files/common.sh
need gcc make python3
mkdir p && cd p
python3 - <<'END'
import os
N = 60 if os.environ.get("LONG") else 10
for i in range(N):
    with open(f"m{i}.c", "w") as f:
        f.write('#include "all.h"\n' + "".join(f"static int g{j}(int x) {{ return x * {j} + {i}; }}\n" for j in range(200)))
        f.write(f"int m{i}(int x) {{ int s = 0;" + "".join(f" s ^= g{j}(x);" for j in range(200)) + " return s; }\n")
with open("all.h", "w") as f:
    f.write("#include <stdio.h>\n#include <stdlib.h>\n#include <pthread.h>\n" + "".join(f"int m{i}(int x);\n" for i in range(N)))
with open("main.c", "w") as f:
    f.write('#include "all.h"\nint main(void) { int s = 0;' + "".join(f" s ^= m{i}({i});" for i in range(N)) + ' printf("%d\\n", s != 0); return 0; }\n')
with open("Makefile", "w") as f:
    f.write("CFLAGS = -O2 -g -MMD\nOBJ = $(patsubst %.c,%.o,$(wildcard m*.c))\nmain: libm0.a main.o\n\t$(CC) -o $@ main.o -L. -lm0\n"
            "libm0.a: $(filter-out main.o,$(OBJ))\n\tar rcs $@ $^\n-include *.d\n")
END
make -s -j4
expect runs "$(./main)" 1
make -s -j4 clean 2>/dev/null || rm -f ./*.o ./*.a main
gcc -fsanitize=address,undefined -g -o asan main.c m*[0-9].c
expect sanitized "$(./asan)" 1
gcc -fsanitize=thread -g -o tsan main.c m*[0-9].c
expect tsan "$(./tsan)" 1
gcc -static -O1 -o static main.c m*[0-9].c && expect static "$(./static)" 1
