# cmake and ninja: a C++ project of many files, configured, built, tested and installed.
. /opt/programs/files/common.sh
need cmake ninja g++
mkdir p && cd p
N=$(size 6 40)
{
    printf 'cmake_minimum_required(VERSION 3.18)\nproject(p C CXX)\nfind_package(Threads REQUIRED)\nfind_package(ZLIB REQUIRED)\ninclude(CheckIncludeFile)\n'
    printf 'check_include_file(sys/epoll.h HAVE_EPOLL)\nfile(GLOB SRC part*.cpp)\nadd_library(parts SHARED ${SRC})\nadd_executable(main main.cpp)\n'
    printf 'target_link_libraries(main parts Threads::Threads ZLIB::ZLIB)\nenable_testing()\nadd_test(NAME run COMMAND main)\ninstall(TARGETS main parts)\n'
} >CMakeLists.txt
echo '#include <thread>
#include <vector>
#include <zlib.h>' >main.cpp
for i in $(seq "$N"); do
    printf '#include <map>\n#include <regex>\n#include <string>\nint part%s() { std::map<std::string, int> m; m["x"] = %s; return std::regex_match("abc", std::regex("a.c")) ? m["x"] : 0; }\n' "$i" "$i" >"part$i.cpp"
    echo "int part$i();" >>main.cpp
done
printf 'int main() { std::vector<std::thread> t; int sum = 0; t.emplace_back([&] { sum += 0' >>main.cpp
for i in $(seq "$N"); do printf ' + part%s()' "$i" >>main.cpp; done
printf '; }); for (auto &x : t) x.join(); try { throw 1; } catch (int) {} return sum != %s || !crc32(0, (const Bytef *)"a", 1); }\n' $((N * (N + 1) / 2)) >>main.cpp
cmake -G Ninja -B build -DCMAKE_INSTALL_PREFIX=/tmp/out . >/dev/null
ninja -C build >/dev/null
(cd build && ctest >/dev/null)
ninja -C build install >/dev/null
LD_LIBRARY_PATH=/tmp/out/lib /tmp/out/bin/main
expect rebuilt "$(ninja -C build | tail -1)" "ninja: no work to do."
touch part1.cpp && ninja -C build | grep -q part1
