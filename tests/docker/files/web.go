// web serve: answers on port 8080 until SIGTERM. web get URL N: asks N times from 20 goroutines.
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"
)

func fail(what any) {
	fmt.Fprintln(os.Stderr, what)
	os.Exit(1)
}

func serve() {
	server := &http.Server{Addr: ":8080", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "answer %s\n", r.URL.Path[1:])
	})}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		if err := server.ListenAndServe(); err != http.ErrServerClosed {
			fail(err)
		}
	}()
	<-stop
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	server.Shutdown(ctx)
}

func get(url string, n int) {
	work := make(chan int)
	var wg sync.WaitGroup
	for i := 0; i < 20; i++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range work {
				response, err := http.Get(url + strconv.Itoa(i))
				if err != nil {
					fail(err)
				}
				text, _ := io.ReadAll(response.Body)
				response.Body.Close()
				if string(text) != fmt.Sprintf("answer %d\n", i) {
					fail(string(text))
				}
			}
		}()
	}
	for i := 0; i < n; i++ {
		work <- i
	}
	close(work)
	wg.Wait()
	fmt.Println(n, "answers")
}

func main() {
	if os.Args[1] == "serve" {
		serve()
		return
	}
	n, _ := strconv.Atoi(os.Args[3])
	get(os.Args[2], n)
}
