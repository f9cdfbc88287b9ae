package device

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

type vector struct {
	Algorithm, Audience, DID, Envelope, ID, JWS, Key, Name, Owner, Payload, Project, Salt, Sequence, Signature, Time, Type string
	Secret                                                                                                                 string `json:"secret_key"`
	Input                                                                                                                  string `json:"signing_input"`
	JWSID                                                                                                                  string `json:"jws_id"`
}

func vectors(t *testing.T) []vector {
	path := os.Getenv("DEVICES_MD")
	if path == "" {
		path = "../../docs/devices.md"
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)<!-- vectors: begin -->\n```json\n(.*?)```").FindSubmatch(text)
	var all []vector
	if err := json.Unmarshal(found[1], &all); err != nil {
		t.Fatal(err)
	}
	// The standard library has no secp256k1.
	return slices.DeleteFunc(all, func(v vector) bool { return v.Algorithm == "ES256K" })
}

func unhex(t *testing.T, text string) []byte {
	data, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestEachByteIsAsPublished(t *testing.T) {
	if len(vectors(t)) < 3 {
		t.Fatal("too few vectors")
	}
	for _, v := range vectors(t) {
		key, err := NewKey(v.Algorithm, unhex(t, v.Secret))
		if err != nil {
			t.Fatal(err)
		}
		did := key.DIDKey()
		if v.DID[:8] == "did:jwk:" {
			did = key.DIDJWK()
		}
		sequence, _ := strconv.ParseUint(v.Sequence, 10, 64)
		now, _ := strconv.ParseUint(v.Time, 10, 64)
		m := Message{ProjectID(v.Owner, v.Project), KeyID(did), v.Type, sequence, now, [16]byte(unhex(t, v.Salt)), unhex(t, v.Payload)}
		input, _ := m.SigningInput()
		signature, _ := key.Sign(input)
		envelope, id, _ := m.Envelope(key)
		jws, jwsID, _ := m.JWS(key)
		pairs := [][2]string{
			{did, v.DID}, {m.Key, v.Key}, {hex.EncodeToString(m.Audience[:]), v.Audience}, {hex.EncodeToString(input), v.Input},
			{hex.EncodeToString(signature), v.Signature}, {hex.EncodeToString(envelope), v.Envelope}, {id, v.ID},
			{string(jws), v.JWS}, {jwsID, v.JWSID},
		}
		for _, pair := range pairs {
			if pair[0] != pair[1] {
				t.Errorf("%s: is\n%s, not\n%s", v.Name, pair[0], pair[1])
			}
		}
		m.Type = "Upper"
		if _, _, err := m.Envelope(key); err == nil {
			t.Error("nonsense was signed")
		}
	}
}

// node is a transport of the test's own.
type node struct {
	mutex sync.Mutex
	judge func(e *Entry) Outcome
	sent  []*Entry
}

func (n *node) Window() int { return 4 }

func (n *node) Send(e *Entry, _ string) Outcome {
	n.mutex.Lock()
	n.sent = append(n.sent, e)
	n.mutex.Unlock()
	return n.judge(e)
}

type log struct {
	mutex    sync.Mutex
	accepted []*Entry
	refused  []string
}

func start(t *testing.T, path string, judge func(e *Entry) Outcome, change func(*Config)) (*Device, *node, *log) {
	key, err := NewKey("EdDSA", make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	n, l := &node{judge: judge}, &log{}
	config := Config{
		Key: key, Owner: "did:key:zOwner", Project: "p", Path: path, Transport: n, FirstWait: 10 * time.Millisecond,
		LongestWait: 20 * time.Millisecond,
		OnAccepted:  func(e *Entry, _ Outcome) { l.mutex.Lock(); defer l.mutex.Unlock(); l.accepted = append(l.accepted, e) },
		OnRefused: func(_ *Entry, o Outcome) {
			l.mutex.Lock()
			defer l.mutex.Unlock()
			l.refused = append(l.refused, o.Code)
		},
	}
	if change != nil {
		change(&config)
	}
	d, err := Start(config)
	if err != nil {
		t.Fatal(err)
	}
	return d, n, l
}

func send(t *testing.T, d *Device, text string) {
	if _, err := d.Send("reading", []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func file(t *testing.T) string { return filepath.Join(t.TempDir(), "device.journal") }

func TestTransientRefusalsAreTriedAgainWithTheSameBytes(t *testing.T) {
	answers := make(chan Outcome, 3)
	answers <- Outcome{Kind: Later}
	answers <- Outcome{Kind: Later}
	answers <- Outcome{Kind: Accepted}
	d, n, l := start(t, file(t), func(*Entry) Outcome { return <-answers }, nil)
	send(t, d, "1")
	d.Flush()
	if len(n.sent) != 3 || len(l.accepted) != 1 || string(n.sent[0].Body) != string(n.sent[2].Body) {
		t.Error(len(n.sent), len(l.accepted))
	}
}

func TestTheWaitsGrowAndWhatTheNodeAsksForIsKept(t *testing.T) {
	// Without an answer's own wait: 25 to 50 ms, 50 to 100, then 100 to 200.
	for _, c := range []struct{ wait, shortest time.Duration }{
		{0, 100 * time.Millisecond},
		{400 * time.Millisecond, 400 * time.Millisecond},
	} {
		begin := time.Now()
		d, n, _ := start(t, file(t), func(*Entry) Outcome { return Outcome{Kind: Later, Wait: c.wait} }, func(config *Config) {
			config.FirstWait, config.LongestWait = 50*time.Millisecond, 200*time.Millisecond
		})
		send(t, d, "1")
		time.Sleep(time.Second)
		d.Close()
		if most := 3 + int(time.Since(begin)/c.shortest); len(n.sent) < 2 || len(n.sent) > most {
			t.Error(len(n.sent), "tries")
		}
	}
}

func TestAfterTheLastCounterComesTheNextEpochAndItWaitsForTheOlderOne(t *testing.T) {
	block := make(chan Outcome)
	d, n, _ := start(t, file(t), func(*Entry) Outcome { return <-block }, nil)
	d.mutex.Lock()
	d.store.next, d.store.state.Reserved = counters-1, counters
	d.mutex.Unlock()
	send(t, d, "0")
	send(t, d, "1")
	time.Sleep(300 * time.Millisecond)
	n.mutex.Lock()
	defer n.mutex.Unlock()
	if d.store.entries[0].Sequence != counters-1 || d.store.entries[1].Sequence != 1<<32 || len(n.sent) != 1 {
		t.Error(d.store.entries[0].Sequence, d.store.entries[1].Sequence, len(n.sent))
	}
}

func TestPermanentRefusalsAreToldAndNotInTheWay(t *testing.T) {
	d, n, l := start(t, file(t), func(e *Entry) Outcome {
		if string(e.Payload) == "1" {
			return Outcome{Kind: Refused, Code: "revoked"}
		}
		return Outcome{Kind: Accepted, Duplicate: true}
	}, nil)
	send(t, d, "1")
	send(t, d, "2")
	d.Flush()
	if fmt.Sprint(l.refused) != "[revoked]" || len(l.accepted) != 1 || len(n.sent) != 2 {
		t.Error(l.refused, l.accepted, len(n.sent))
	}
}

func TestTheQueueOutlivesTheProcessAndNoNumberComesTwice(t *testing.T) {
	path := file(t)
	block := make(chan Outcome)
	first, _, _ := start(t, path, func(*Entry) Outcome { return <-block }, nil)
	for n := range 100 {
		send(t, first, strconv.Itoa(n))
	}
	// As a crash: what the device would still do counts for nothing, and half a line is left.
	first.store.lock.Close()
	journal, _ := os.ReadFile(path)
	crashed := file(t)
	if err := os.WriteFile(crashed, append(journal, `{"put":{"tick`...), 0o600); err != nil {
		t.Fatal(err)
	}
	second, _, l := start(t, crashed, func(*Entry) Outcome { return Outcome{} }, nil)
	send(t, second, "100")
	second.Flush()
	seen := map[uint64]string{}
	for _, e := range l.accepted {
		seen[e.Sequence] = string(e.Payload)
	}
	// What was reserved (2 blocks of 64) is not used again.
	if len(l.accepted) != 101 || len(seen) != 101 || seen[128] != "100" || seen[99] != "99" {
		t.Error(len(l.accepted), len(seen), seen[128])
	}
}

func TestAJournalOfManyChangesIsWrittenAnew(t *testing.T) {
	path := file(t)
	d, _, _ := start(t, path, func(*Entry) Outcome { return Outcome{} }, nil)
	for range 700 {
		send(t, d, "x")
	}
	d.Flush()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	size, _ := os.Stat(path)
	again, _, _ := start(t, path, func(*Entry) Outcome { return Outcome{} }, nil)
	ticket, err := again.Send("reading", nil)
	if err != nil || ticket != 701 || size.Size() > 300_000 {
		t.Error(ticket, err, size.Size())
	}
}

func TestAFullQueueTakesNoMoreOrDropsTheOldest(t *testing.T) {
	block := make(chan Outcome)
	judge := func(*Entry) Outcome { return <-block }
	full, _, _ := start(t, file(t), judge, func(c *Config) { c.MaxQueue = 5 })
	drops, n, l := start(t, file(t), judge, func(c *Config) { c.MaxQueue = 5; c.DropOldest = true })
	for range 5 {
		send(t, full, "x")
		send(t, drops, "x")
	}
	if _, err := full.Send("reading", nil); !errors.Is(err, ErrFull) {
		t.Error(err)
	}
	for range 1000 {
		n.mutex.Lock()
		under := len(n.sent)
		n.mutex.Unlock()
		if under == 4 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	send(t, drops, "y")
	if fmt.Sprint(l.refused) != "[dropped]" || drops.Waiting() != 5 {
		t.Error(l.refused, drops.Waiting())
	}
}

func TestAFileBelongsToOneDeviceAndOneProcess(t *testing.T) {
	path := file(t)
	d, _, _ := start(t, path, func(*Entry) Outcome { return Outcome{} }, nil)
	if _, err := OpenStore(path, "x"); err == nil {
		t.Error("two have it open")
	}
	d.Close()
	if _, err := OpenStore(path, "x"); err == nil {
		t.Error("another device has it")
	}
	os.WriteFile(path, []byte("rubbish\n{}\n"), 0o600)
	if _, err := OpenStore(path, "x"); err == nil {
		t.Error("damage was not noticed")
	}
}

func TestAWipedDeviceGoesOnInTheEpochThatItIsTold(t *testing.T) {
	var mutex sync.Mutex
	path, highest := file(t), uint64(4)
	d, _, l := start(t, path, func(e *Entry) Outcome {
		mutex.Lock()
		defer mutex.Unlock()
		if e.Sequence>>32 < highest {
			next := uint32(highest + 1)
			return Outcome{Kind: Refused, Code: "too-old", NextEpoch: &next}
		}
		highest = e.Sequence >> 32
		return Outcome{}
	}, nil)
	for n := range 10 {
		send(t, d, strconv.Itoa(n))
	}
	d.Flush()
	payloads := map[string]bool{}
	for _, e := range l.accepted {
		payloads[string(e.Payload)] = true
		if e.Sequence>>32 != 5 {
			t.Error(e.Sequence >> 32)
		}
	}
	if len(payloads) != 10 || len(l.accepted) != 10 || len(l.refused) != 0 {
		t.Error(len(payloads), len(l.accepted), l.refused)
	}
	d.Close()
	again, _, _ := start(t, path, func(*Entry) Outcome { return Outcome{} }, nil)
	if again.store.state.Epoch != 5 {
		t.Error("the epoch is not kept")
	}
}

func TestConflictsEndInANewEpochOrInARefusal(t *testing.T) {
	d, _, l := start(t, file(t), func(e *Entry) Outcome {
		if e.Sequence>>32 == 0 {
			return Outcome{Kind: Refused, Code: "conflict"}
		}
		return Outcome{}
	}, nil)
	send(t, d, "1")
	d.Flush()
	if len(l.accepted) != 1 || l.accepted[0].Sequence != 1<<32 {
		t.Error(l.accepted)
	}
	two, n, l := start(t, file(t), func(*Entry) Outcome { return Outcome{Kind: Refused, Code: "conflict"} }, nil)
	send(t, two, "1")
	two.Flush()
	if len(n.sent) != 5 || fmt.Sprint(l.refused) != "[conflict]" {
		t.Error(len(n.sent), l.refused)
	}
}

func TestNoNewerEpochIsSentWhileAnOlderMessageIsWithoutAnswer(t *testing.T) {
	gate := make(chan struct{})
	var mutex sync.Mutex
	var out []string
	held := false
	d, _, _ := start(t, file(t), func(e *Entry) Outcome {
		mutex.Lock()
		out = append(out, fmt.Sprint(e.Sequence>>32, ":", string(e.Payload)))
		hold := e.Sequence>>32 == 0 && string(e.Payload) == "0" && !held
		held = held || hold
		mutex.Unlock()
		if hold {
			<-gate
			return Outcome{Kind: Later} // it has it, but its answer was lost
		}
		if e.Sequence>>32 == 0 && string(e.Payload) == "1" {
			return Outcome{Kind: Refused, Code: "conflict"}
		}
		return Outcome{}
	}, nil)
	send(t, d, "0")
	send(t, d, "1")
	time.Sleep(300 * time.Millisecond)
	mutex.Lock()
	early := len(out)
	mutex.Unlock()
	close(gate)
	d.Flush()
	if early != 2 || fmt.Sprint(out[2:]) != "[0:0 1:1]" {
		t.Error(early, out)
	}
}

func TestWhatAnswersMean(t *testing.T) {
	old := ReadAnswer(409, "", []byte(`{"code":"too-old","detail":"d","next_epoch":7}`))
	if old.Kind != Refused || old.Code != "too-old" || *old.NextEpoch != 7 {
		t.Error(old)
	}
	if busy := ReadAnswer(503, "3", []byte(`{"code":"overloaded"}`)); busy.Kind != Later || busy.Wait != 3*time.Second {
		t.Error(busy)
	}
	if !ReadAnswer(200, "", []byte(`{"duplicate":true}`)).Duplicate {
		t.Error("a duplicate")
	}
	for status, body := range map[int]string{404: "<html>", 500: `{"code":"x"}`, 429: `{"code":"x"}`, 302: "", 403: "[]", 401: "null"} {
		if ReadAnswer(status, "", []byte(body)).Kind != Later {
			t.Error(status, "is not the node's own word")
		}
	}
}
