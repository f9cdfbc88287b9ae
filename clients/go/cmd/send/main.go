// Send is an example: it sends each line of its standard input as a message, and ends when all are acknowledged.
package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"sync"

	device "w3bstream-device"
)

func main() {
	algorithm := flag.String("algorithm", "EdDSA", "of a new key: EdDSA or ES256")
	jws := flag.Bool("jws", false, "send compact JWS instead of envelopes")
	did := flag.String("did", "", "the DID to sign as, if not the key's did:key")
	flag.Parse()
	if flag.NArg() != 6 {
		log.Fatal("usage: send [-algorithm A] [-jws] [-did DID] KEYFILE STORE OWNER PROJECT TYPE URL < lines   (TYPE -: print the DID)")
	}
	key, err := device.LoadOrMakeKey(flag.Arg(0), *algorithm)
	if err != nil {
		log.Fatal(err)
	}
	if flag.Arg(4) == "-" {
		fmt.Println(key.DIDKey())
		return
	}
	transport, err := device.NewHTTP(flag.Arg(5), flag.Arg(3))
	if err != nil {
		log.Fatal(err)
	}
	var mutex sync.Mutex
	say := func(what map[string]any) {
		mutex.Lock()
		defer mutex.Unlock()
		if err := json.NewEncoder(os.Stdout).Encode(what); err != nil {
			log.Fatal(err)
		}
	}
	d, err := device.Start(device.Config{
		Key: key, DID: *did, Path: flag.Arg(1), Owner: flag.Arg(2), Project: flag.Arg(3), Transport: transport, JWS: *jws,
		OnAccepted: func(e *device.Entry, o device.Outcome) {
			say(map[string]any{"accepted": "yes", "id": e.ID, "hex": hex.EncodeToString(e.Payload), "duplicate": o.Duplicate})
		},
		OnRefused: func(e *device.Entry, o device.Outcome) {
			say(map[string]any{"refused": o.Code, "hex": hex.EncodeToString(e.Payload), "detail": o.Detail})
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	count, lines := 0, bufio.NewScanner(os.Stdin)
	for ; lines.Scan(); count++ {
		if _, err := d.Send(flag.Arg(4), lines.Bytes()); err != nil {
			log.Fatal(err)
		}
	}
	say(map[string]any{"queued": count})
	d.Flush()
	if err := d.Close(); err != nil {
		log.Fatal(err)
	}
	say(map[string]any{"done": true})
}
