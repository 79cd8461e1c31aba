// Goroutines, channels, preemption by signals, files, processes.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"
)

func check(ok bool, what string) {
	if !ok {
		fmt.Println("failed:", what)
		os.Exit(1)
	}
}

func main() {
	var wg sync.WaitGroup
	ch := make(chan int)
	for i := 0; i < 1000; i++ {
		wg.Add(1)
		go func(i int) { defer wg.Done(); ch <- i }(i)
	}
	go func() { wg.Wait(); close(ch) }()
	sum := 0
	for v := range ch {
		sum += v
	}
	check(sum == 499500, "sum")

	// A loop without calls is only interrupted by the runtime's preemption signal.
	runtime.GOMAXPROCS(1)
	stop := false
	go func() {
		for x := 0; !stop; x++ {
		}
	}()
	time.Sleep(20 * time.Millisecond)
	runtime.GC()
	stop = true
	runtime.GOMAXPROCS(4)

	garbage := make([][]byte, 0)
	for i := 0; i < 2000; i++ {
		garbage = append(garbage, make([]byte, 32<<10))
		if i%100 == 0 {
			garbage = garbage[:0]
		}
	}
	out, err := exec.Command("echo", "hi").Output()
	check(err == nil && string(out) == "hi\n", "exec")
	sig := make(chan os.Signal, 1)
	signal.Notify(sig, syscall.SIGUSR1)
	syscall.Kill(os.Getpid(), syscall.SIGUSR1)
	select {
	case <-sig:
	case <-time.After(5 * time.Second):
		check(false, "signal")
	}
	check(os.WriteFile("/tmp/go", make([]byte, 1<<20), 0o600) == nil, "write")
	t := time.Now()
	var tick sync.WaitGroup
	for i := 0; i < 500; i++ {
		tick.Add(1)
		time.AfterFunc(50*time.Millisecond, tick.Done)
	}
	tick.Wait()
	check(time.Since(t) < 5*time.Second, "timers")
	fmt.Println("ok")
}
