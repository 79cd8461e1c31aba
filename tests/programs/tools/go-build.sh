# The Go toolchain: builds a module with tests and a race of goroutines, and runs it.
. /opt/programs/files/common.sh
need go
export HOME=/tmp GOCACHE=/tmp/cache GOFLAGS=-mod=mod GOPROXY=off CGO_ENABLED=1
mkdir -p hello/inner && cd hello
cat >go.mod <<'END'
module example.com/hello

go 1.19
END
cat >inner/inner.go <<'END'
package inner

// Sum adds up to n in goroutines.
func Sum(n int) int {
	c := make(chan int)
	for i := 1; i <= n; i++ {
		go func(i int) { c <- i }(i)
	}
	s := 0
	for i := 0; i < n; i++ {
		s += <-c
	}
	return s
}
END
cat >inner/inner_test.go <<'END'
package inner

import "testing"

func TestSum(t *testing.T) {
	if Sum(100) != 5050 {
		t.Fatal("sum")
	}
}
END
cat >main.go <<'END'
package main

import (
	"fmt"

	"example.com/hello/inner"
)

func main() { fmt.Println("hello", inner.Sum(1000)) }
END
go vet ./...
go test ./... >/dev/null
go build -o hello .
expect hello "$(./hello)" "hello 500500"
