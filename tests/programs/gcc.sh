# A multi-file C program, built with make -j4 and run.
. /opt/programs/files/common.sh
need gcc make
mkdir p && cd p
N=$(size 12 60)
echo 'int main(void){int s=0;' >main.c
for i in $(seq "$N"); do
    printf '#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\nint f%s(void){char b[32];snprintf(b,32,"%%d",%s);return atoi(b);}\n' "$i" "$i" >"f$i.c"
    printf 'extern int f%s(void);s+=f%s();' "$i" "$i" >>main.c
done
echo "return s!=$((N * (N + 1) / 2));}" >>main.c
printf 'SRC=$(wildcard *.c)\nprog: $(SRC:.c=.o)\n\t$(CC) -o $@ $^\n%%.o: %%.c\n\t$(CC) -O2 -c -o $@ $<\n' >Makefile
make -s -j4 prog
./prog
expect rebuild "$(make -j4 prog)" "make: 'prog' is up to date."
sed -i 's/atoi(b)/atoi(b)+1/' f1.c && make -s prog && ! ./prog
gcc -shared -fPIC -o libx.so f2.c && printf '#include <dlfcn.h>\nint main(void){return !dlsym(dlopen("./libx.so",RTLD_NOW),"f2");}' >d.c && gcc -o d d.c && ./d
