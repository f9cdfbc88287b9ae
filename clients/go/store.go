package device

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
)

const counters = 1 << 32

// ErrFull says that the queue has its largest number of messages.
var ErrFull = errors.New("the queue is full; the node has not acknowledged what waits")

var errEpochs = errors.New("all boot epochs are used up; the device needs a new key")

// Entry is a message in the queue. Ticket counts up and is never used twice in a file; Body is what is sent.
type Entry struct {
	Ticket   uint64 `json:"ticket"`
	Sequence uint64 `json:"sequence,string"`
	Type     string `json:"type"`
	Time     uint64 `json:"time"`
	Payload  []byte `json:"payload"`
	ID       string `json:"id"`
	Body     []byte `json:"body"`
	Resigned int    `json:"resigned"`
}

type state struct {
	Owner    string `json:"owner"`
	Epoch    uint64 `json:"epoch"`
	Reserved uint64 `json:"reserved"`
}

// change is one line of the journal: all of it counts, or nothing.
type change struct {
	State  *state   `json:"state,omitempty"`
	Put    *Entry   `json:"put,omitempty"`
	Remove []uint64 `json:"remove,omitempty"`
	Ticket uint64   `json:"ticket"`
}

// Store keeps what must survive a crash: the numbers that are used up, and the messages that are not acknowledged. It
// is a journal with one JSON value a line, each on disk (fsync) before it counts. One process at a time.
type Store struct {
	path    string
	block   uint64
	file    *os.File
	lock    *os.File
	lines   int
	state   state
	next    uint64
	ticket  uint64
	entries []*Entry // by sequence
}

// OpenStore opens or makes the file. owner (key and audience) ties it to one device and project.
func OpenStore(path, owner string) (_ *Store, err error) {
	s := &Store{path: path, block: 64}
	if s.lock, err = lockFile(path + ".lock"); err != nil {
		return nil, fmt.Errorf("%s is open in another process: %w", path, err)
	}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if err := s.load(); err != nil {
		return nil, err
	}
	if s.state.Owner != "" && s.state.Owner != owner {
		return nil, fmt.Errorf("%s belongs to %s, not to %s; give each device and project its own", path, s.state.Owner, owner)
	}
	s.state.Owner = owner
	// What was reserved and not used before the stop is left as a gap: a crash never uses a number twice.
	s.next = s.state.Reserved
	return s, s.compact()
}

func (s *Store) load() error {
	file, err := os.Open(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewReader(file)
	for number := 1; ; number++ {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			// What has no newline was being written when the process ended; nobody was told that it is kept.
			return nil
		}
		if err != nil {
			return err
		}
		var c change
		if err := json.Unmarshal(line, &c); err != nil {
			return fmt.Errorf("%s, line %d, is damaged: %w; restore the file, or remove it and let the device go on in a new "+
				"boot epoch", s.path, number, err)
		}
		s.apply(c)
	}
}

func (s *Store) apply(c change) {
	gone := map[uint64]bool{}
	for _, ticket := range c.Remove {
		gone[ticket] = true
	}
	if c.Put != nil {
		gone[c.Put.Ticket] = true
	}
	if len(gone) > 0 {
		var left []*Entry
		for _, e := range s.entries {
			if !gone[e.Ticket] {
				left = append(left, e)
			}
		}
		s.entries = left
	}
	if c.Put != nil {
		s.entries = append(s.entries, c.Put)
		sort.Slice(s.entries, func(a, b int) bool { return s.entries[a].Sequence < s.entries[b].Sequence })
	}
	if c.State != nil {
		s.state = *c.State
	}
	s.ticket = c.Ticket
}

func (s *Store) write(c change) error {
	c.Ticket = s.ticket
	if c.Put != nil {
		c.Ticket = max(c.Ticket, c.Put.Ticket)
	}
	line, err := json.Marshal(c)
	if err != nil {
		return err
	}
	before, err := s.file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	_, err = s.file.Write(append(line, '\n'))
	if err = errors.Join(err, s.file.Sync()); err != nil {
		// Half a line must not stand before the next one.
		return errors.Join(err, s.file.Truncate(before))
	}
	s.apply(c)
	if s.lines++; s.lines > 1000+4*len(s.entries) {
		return s.compact()
	}
	return nil
}

// compact writes what counts into a new file and puts it in place of the old one.
func (s *Store) compact() error {
	file, err := os.OpenFile(s.path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	out := json.NewEncoder(file)
	err = out.Encode(change{State: &s.state, Ticket: s.ticket})
	for _, e := range s.entries {
		err = errors.Join(err, out.Encode(change{Put: e, Ticket: s.ticket}))
	}
	if err = errors.Join(err, file.Sync()); err != nil {
		return errors.Join(err, file.Close())
	}
	if err := os.Rename(s.path+".new", s.path); err != nil {
		return errors.Join(err, file.Close())
	}
	if s.file != nil {
		s.file.Close()
	}
	s.file, s.lines = file, 1+len(s.entries)
	folder, err := os.Open(filepath.Dir(s.path))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// place gives a sequence number behind all others, of boot epoch least or later, and the state that must be written with
// the message that uses it.
func (s *Store) place(least uint64) (uint64, state, error) {
	now, next := s.state, s.next
	if least > now.Epoch || next >= counters {
		now.Epoch, now.Reserved, next = max(least, now.Epoch+1), 0, 0
	}
	if now.Epoch >= counters {
		return 0, now, errEpochs
	}
	if next >= now.Reserved {
		now.Reserved = min(next+s.block, counters)
	}
	return now.Epoch<<32 | next, now, nil
}

// put keeps an entry with what place gave, instead of those in remove.
func (s *Store) put(e *Entry, with state, remove ...uint64) error {
	c := change{Put: e, Remove: remove}
	if with != s.state {
		c.State = &with
	}
	if err := s.write(c); err != nil {
		return err
	}
	s.next = e.Sequence&(counters-1) + 1
	return nil
}

func (s *Store) first(limit int) []*Entry {
	return s.entries[:min(limit, len(s.entries))]
}

// Close lets go of the file.
func (s *Store) Close() error {
	var err error
	if s.file != nil {
		err = s.file.Close()
	}
	return errors.Join(err, s.lock.Close())
}
