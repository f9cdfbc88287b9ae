//go:build !wasm

package w3bstream

import "encoding/binary"

// Message is an MQTT message that a handler asked for.
type Message struct {
	Topic   string
	Payload string
}

// SentEvent is an event that a handler sent.
type SentEvent struct {
	Type    string
	Payload string
}

// Mock is a host in memory for native tests. It keeps keys between events, and what handlers asked for.
type Mock struct {
	KV         map[string]string
	Env        map[string]string
	Rows       map[string]string // what Query answers, by the JSON of the statement
	Published  []Message
	Statements []string
	Metrics    []string
	Logs       []string
	Device     string
	Events     []SentEvent // delivered to nobody
	Answers    []string
	Time       uint64 // the sender's
	Depth      uint64 // how many events led to the one that is delivered

	answered bool

	eventType string
	payload   []byte
}

var host *Mock

// NewMock makes a host without keys and settings.
func NewMock() *Mock {
	return &Mock{KV: map[string]string{}, Env: map[string]string{}, Rows: map[string]string{}, Device: "did:key:z6MkMock"}
}

// Deliver calls a handler with an event and gives its code. Not for several goroutines at once.
func (m *Mock) Deliver(handler func(rid int32) int32, eventType, payload string) int32 {
	m.eventType, m.payload, m.answered = eventType, []byte(payload), false
	host = m
	defer func() { host = nil }()
	return handler(1)
}

func found(values map[string]string, name string, absent int32) ([]byte, int32) {
	value, ok := values[name]
	if !ok {
		return nil, absent
	}
	return []byte(value), 0
}

func log(_ int32, text string) { host.Logs = append(host.Logs, text) }

func getData(rid int32) ([]byte, int32) {
	if rid != 1 {
		return nil, 2
	}
	return host.payload, 0
}

func getEventType(int32) ([]byte, int32) { return []byte(host.eventType), 0 }

func getContext(_, item int32) ([]byte, int32) {
	switch {
	case item == 2 && host.Device != "":
		return []byte(host.Device), 0
	case item == 5:
		return binary.BigEndian.AppendUint64(nil, host.Time), 0
	case item == 6 && host.Depth > 0:
		return binary.BigEndian.AppendUint64(nil, host.Depth), 0
	}
	return nil, 2
}

func getDB(key string) ([]byte, int32) { return found(host.KV, key, 2) }

func setDB(key string, value []byte) int32 {
	if len(key) == 0 || len(key) > 1024 {
		return -1
	}
	host.KV[key] = string(value)
	return 0
}

func getEnv(name string) ([]byte, int32) { return found(host.Env, name, 8) }

func setSQL(json []byte) int32 {
	host.Statements = append(host.Statements, string(json))
	return 0
}

func getSQL(json []byte) ([]byte, int32) { return []byte(host.Rows[string(json)]), 0 }

func sendMQTT(topic string, payload []byte) int32 {
	if len(topic) == 0 || len(topic) > 1024 {
		return -1
	}
	host.Published = append(host.Published, Message{topic, string(payload)})
	return 0
}

func sendEvent(eventType string, payload []byte) int32 {
	if len(eventType) == 0 || len(eventType) > 63 {
		return -1
	}
	if host.Depth >= 8 {
		return 11
	}
	host.Events = append(host.Events, SentEvent{eventType, string(payload)})
	return 0
}

func sendAnswer(bytes []byte) int32 {
	if host.answered {
		return -1
	}
	host.answered = true
	host.Answers = append(host.Answers, string(bytes))
	return 0
}

func submitMetrics(json []byte) int32 {
	host.Metrics = append(host.Metrics, string(json))
	return 0
}
