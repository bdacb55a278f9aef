// Lists subtenants through the gateway. Go 1.18 or newer, nothing to install.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"
	"time"
)

// One client for all calls: it keeps its connections open.
var client = &http.Client{
	// Longer than the gateway's own limit, so that it is the one that tells why.
	Timeout: 35 * time.Second,
	// A proxy of the environment is not for this machine.
	Transport: &http.Transport{},
	CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	},
}

func main() {
	log.SetFlags(0)
	base := os.Getenv("PIGELLO_URL")
	if base == "" {
		base = "http://127.0.0.1:8080"
	}
	answer, err := client.Get(base + "/accounts/users/customer/subtenant/list/?_page=1&_page_size=10")
	if err != nil {
		log.Fatal(err)
	}
	defer answer.Body.Close()
	request := answer.Header.Get("X-Request-Id")
	if strings.HasPrefix(answer.Header.Get("Content-Type"), "application/problem+json") {
		var problem struct{ Title, Detail string }
		if err := json.NewDecoder(answer.Body).Decode(&problem); err != nil {
			log.Fatal(err)
		}
		log.Fatalf("%s: %s (request %s)", problem.Title, problem.Detail, request)
	}
	if answer.StatusCode != http.StatusOK {
		log.Fatalf("Pigello answered %s (request %s)", answer.Status, request)
	}
	var subtenants []json.RawMessage
	if err := json.NewDecoder(answer.Body).Decode(&subtenants); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d subtenants (request %s)\n", len(subtenants), request)
}
