// Calls through net/http. Arguments: address, method, path, bytes, count, pause in ms between the calls
// of a connection (-1: one after another). Prints how often each status or error came.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

func main() {
	address, method, path := os.Args[1], os.Args[2], os.Args[3]
	size, _ := strconv.Atoi(os.Args[4])
	count, _ := strconv.Atoi(os.Args[5])
	pause, _ := strconv.Atoi(os.Args[6])
	transport := &http.Transport{
		TLSClientConfig:     &tls.Config{InsecureSkipVerify: true},
		MaxIdleConnsPerHost: 100,
	}
	if strings.HasPrefix(address, "unix:") {
		socket := strings.TrimPrefix(address, "unix:")
		address = "http://localhost"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}
	}
	client := &http.Client{Transport: transport}
	var lock sync.Mutex
	seen := map[string]int{}
	call := func() {
		what := ""
		// Not a type that net/http can send twice.
		body := io.MultiReader(bytes.NewReader(make([]byte, size)))
		request, _ := http.NewRequest(method, address+path, body)
		request.ContentLength = int64(size)
		request.Header.Set("Content-Type", "application/json")
		if response, err := client.Do(request); err != nil {
			what = err.Error()
		} else {
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
			what = strconv.Itoa(response.StatusCode)
		}
		lock.Lock()
		seen[what]++
		lock.Unlock()
	}
	if pause < 0 {
		for i := 0; i < count; i++ {
			call()
		}
	} else {
		var lanes sync.WaitGroup
		for lane := 0; lane < 50; lane++ {
			lanes.Add(1)
			go func() {
				defer lanes.Done()
				for i := 0; i < count/50; i++ {
					call()
					time.Sleep(time.Duration(pause-10)*time.Millisecond + time.Duration(rand.Intn(20000))*time.Microsecond)
				}
			}()
		}
		lanes.Wait()
	}
	var parts []string
	for what, times := range seen {
		parts = append(parts, fmt.Sprintf("%s: %d", what, times))
	}
	fmt.Println(strings.Join(parts, ", "))
}
