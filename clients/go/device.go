// Package device is a device of W3bstream: it signs messages, keeps them until they are acknowledged, and sends them. It
// needs the standard library alone.
package device

import (
	"crypto/rand"
	"errors"
	"log/slog"
	mathrand "math/rand/v2"
	"sync"
	"time"
)

const (
	// How far apart the numbers of messages under way may be. The node tells repeats from strangers within 4,096.
	maxSpread = 1024
	// How often one message is signed anew. Once is what a wiped device needs; more means that two devices share a key.
	maxResigned = 4
)

// Config is what a device is made of. Zero values stand for the defaults.
type Config struct {
	Key       *Key
	DID       string // the key's did:key if empty
	Owner     string // DID of the project's owner
	Project   string
	Path      string // the file of the store
	Transport Transport
	JWS       bool // compact JWS instead of envelopes
	MaxQueue  int  // 10,000
	// DropOldest says what a full queue does: drop its oldest message, or (false) take no more.
	DropOldest  bool
	FirstWait   time.Duration // 500 ms
	LongestWait time.Duration // a minute
	// Both are called from other goroutines. OnRefused: the message was taken out of the queue. A callback may come a
	// second time for a message if the process dies between the callback and the removal.
	OnAccepted func(*Entry, Outcome)
	OnRefused  func(*Entry, Outcome)
}

// Device sends messages so that each is executed once, whatever crashes, as long as its file is kept.
type Device struct {
	config    Config
	audience  [32]byte
	mutex     sync.Mutex
	changed   *sync.Cond
	store     *Store
	underWay  map[uint64]bool
	failures  int
	notBefore time.Time
	stop      bool
	running   sync.WaitGroup
}

// Start opens the store and begins to send what is in it.
func Start(config Config) (*Device, error) {
	if config.Key == nil || config.Transport == nil || config.Owner == "" || config.Project == "" || config.Path == "" {
		return nil, errors.New("Key, Owner, Project, Path and Transport must be given")
	}
	if config.DID == "" {
		config.DID = config.Key.DIDKey()
	}
	if config.MaxQueue == 0 {
		config.MaxQueue = 10_000
	}
	if config.FirstWait == 0 {
		config.FirstWait = 500 * time.Millisecond
	}
	if config.LongestWait == 0 {
		config.LongestWait = time.Minute
	}
	d := &Device{config: config, audience: ProjectID(config.Owner, config.Project), underWay: map[uint64]bool{}}
	d.changed = sync.NewCond(&d.mutex)
	id := tagged("w3b/store/1", []byte(KeyID(config.DID)), d.audience[:])
	store, err := OpenStore(config.Path, base58(id[:]))
	if err != nil {
		return nil, err
	}
	d.store = store
	d.running.Add(1)
	go d.work()
	return d, nil
}

// Send signs a message and puts it on disk. From then on it is sent until the node accepts it or refuses it for ever.
// ErrFull: the queue is full and nothing may be dropped.
func (d *Device) Send(eventType string, payload []byte) (ticket uint64, err error) {
	var dropped *Entry
	d.mutex.Lock()
	defer func() {
		d.mutex.Unlock()
		if dropped != nil && err == nil && d.config.OnRefused != nil {
			d.config.OnRefused(dropped, Outcome{Kind: Refused, Code: "dropped", Detail: "the queue was full"})
		}
	}()
	if d.stop {
		return 0, errors.New("the device is closed")
	}
	var remove []uint64
	if len(d.store.entries) >= d.config.MaxQueue {
		if dropped = d.droppable(); dropped == nil {
			return 0, ErrFull
		}
		remove = append(remove, dropped.Ticket)
	}
	entry := &Entry{
		Ticket: d.store.ticket + 1, Type: eventType, Time: uint64(time.Now().UnixMilli()), Payload: append([]byte{}, payload...),
	}
	if err := d.signAndPut(entry, 0, remove...); err != nil {
		return 0, err
	}
	d.changed.Broadcast()
	return entry.Ticket, nil
}

// Waiting is how many messages are in the queue.
func (d *Device) Waiting() int {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	return len(d.store.entries)
}

// Flush waits until the queue is empty or the device is closed.
func (d *Device) Flush() {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	for len(d.store.entries) > 0 && !d.stop {
		d.changed.Wait()
	}
}

// Close stops sending, after the answers that are under way. What is in the queue stays there for the next start.
func (d *Device) Close() error {
	d.mutex.Lock()
	d.stop = true
	d.changed.Broadcast()
	d.mutex.Unlock()
	d.running.Wait()
	return d.store.Close()
}

func (d *Device) droppable() *Entry {
	if d.config.DropOldest {
		for _, e := range d.store.entries {
			if !d.underWay[e.Ticket] {
				return e
			}
		}
	}
	return nil
}

// signAndPut gives an entry its number, a new salt and its signature. The number is on disk with the message before it
// can leave.
func (d *Device) signAndPut(entry *Entry, least uint64, remove ...uint64) error {
	sequence, with, err := d.store.place(least)
	if err != nil {
		return err
	}
	m := Message{Audience: d.audience, Key: KeyID(d.config.DID), Type: entry.Type, Sequence: sequence, Time: entry.Time,
		Payload: entry.Payload}
	if _, err := rand.Read(m.Salt[:]); err != nil {
		return err
	}
	entry.Sequence = sequence
	if d.config.JWS {
		entry.Body, entry.ID, err = m.JWS(d.config.Key)
	} else {
		entry.Body, entry.ID, err = m.Envelope(d.config.Key)
	}
	if err != nil {
		return err
	}
	return d.store.put(entry, with, remove...)
}

func (d *Device) work() {
	defer d.running.Done()
	contentType := EnvelopeType
	if d.config.JWS {
		contentType = JWSType
	}
	d.mutex.Lock()
	defer d.mutex.Unlock()
	for !d.stop {
		wait := time.Until(d.notBefore)
		entry := d.next()
		if entry == nil || wait > 0 {
			if wait > 0 {
				time.AfterFunc(wait, d.changed.Broadcast)
			}
			d.changed.Wait()
			continue
		}
		d.underWay[entry.Ticket] = true
		d.running.Add(1)
		go func() {
			defer d.running.Done()
			d.answered(entry, d.config.Transport.Send(entry, contentType))
		}()
	}
}

// next is the next message to send. Those under way are the lowest, of one boot epoch, and near each other: a node that
// has ordered a message of a newer epoch, or one far above, says too-old to a repeat of an older message, even if it has
// that message. Signing it anew would then make it two.
func (d *Device) next() *Entry {
	first := d.store.first(d.config.Transport.Window())
	for _, e := range first {
		low := first[0].Sequence
		if e.Sequence>>32 != low>>32 || e.Sequence-low >= maxSpread {
			return nil
		}
		if !d.underWay[e.Ticket] {
			return e
		}
	}
	return nil
}

func (d *Device) answered(entry *Entry, outcome Outcome) {
	if outcome.Kind != Later && !(outcome.Kind == Refused && d.anew(entry, outcome)) {
		if outcome.Kind == Accepted && d.config.OnAccepted != nil {
			d.config.OnAccepted(entry, outcome)
		} else if outcome.Kind == Refused && d.config.OnRefused != nil {
			d.config.OnRefused(entry, outcome)
		}
		d.mutex.Lock()
		// An answer of any kind says that the node is there.
		d.failures = 0
		if err := d.store.write(change{Remove: []uint64{entry.Ticket}}); err != nil {
			outcome = Outcome{Kind: Later, Code: "store", Detail: err.Error()}
		}
		d.mutex.Unlock()
	}
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if outcome.Kind == Later {
		d.wait(outcome)
	}
	delete(d.underWay, entry.Ticket)
	d.changed.Broadcast()
}

func (d *Device) wait(outcome Outcome) {
	if time.Now().Before(d.notBefore) {
		return // Several messages that fail together count once.
	}
	most := min(d.config.FirstWait<<min(d.failures, 20), d.config.LongestWait)
	d.failures++
	// Between half and the whole of it, so that many devices do not come back at once.
	wait := max(most/2+time.Duration(mathrand.Int64N(int64(most/2)+1)), outcome.Wait)
	d.notBefore = time.Now().Add(wait)
	slog.Info("trying again", "code", outcome.Code, "detail", outcome.Detail, "wait", wait)
}

// anew signs a message anew whose number is of no use, because the device had lost its counter.
func (d *Device) anew(entry *Entry, refused Outcome) bool {
	if (refused.Code != "too-old" && refused.Code != "conflict") || entry.Resigned >= maxResigned {
		return false
	}
	// If the epoch has risen since the message was signed, its present numbers are good.
	least := entry.Sequence>>32 + 1
	if refused.NextEpoch != nil {
		least = uint64(*refused.NextEpoch)
	}
	d.mutex.Lock()
	defer d.mutex.Unlock()
	again := *entry
	again.Resigned++
	err := d.signAndPut(&again, least)
	if err != nil && !errors.Is(err, errEpochs) {
		// The store could not be written: the old bytes are sent again, after a while.
		d.wait(Outcome{Code: "store", Detail: err.Error()})
		return true
	}
	return err == nil
}
