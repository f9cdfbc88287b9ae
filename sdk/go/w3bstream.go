// Package w3bstream is the guest kit for applets in Go: the functions that a node gives to a module, and what an applet
// mostly needs around them.
//
//	//go:wasmexport count
//	func count(rid int32) int32 {
//		return w3bstream.Handle(rid, func(event w3bstream.Event) error {
//			n, err := w3bstream.GetInt("count")
//			if err != nil {
//				return err
//			}
//			return w3bstream.SetInt("count", n+1)
//		})
//	}
//
// Every call runs in a fresh instance: variables never outlive it. There is no clock (it stands still), no randomness, no file
// and no network. Prefer whole numbers to floating point. Check first, write last: what a handler wrote before it returned an
// error stays; what it wrote before it panicked does not.
package w3bstream

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// Codes of handlers; those of an applet itself are positive.
const (
	General      = 1  // something is wrong that has no code of its own
	Host         = -1 // the host refused a call
	JSONExpected = -2 // the payload is not the JSON that was expected
	TooDeep      = -11 // an event was not sent: as many led here as may follow from each other
	TooMany      = -12 // an event was not sent: the message has caused as many as it may
)

// Levels of the log.
const (
	Error = 2
	Warn  = 3
	Info  = 4
	Debug = 5
	Trace = 6
)

// Failure is an error with a code, which becomes the call's result.
type Failure struct {
	Code int32
	Why  string
}

func (f *Failure) Error() string { return f.Why }

// Fail makes an error with a code.
func Fail(code int32, why string) error { return &Failure{code, why} }

func refused(call string, code int32) error {
	return &Failure{Host, fmt.Sprintf("%s answered %d", call, code)}
}

// Event is what a device, or another source, sent.
type Event struct {
	rid  int32
	Data []byte
}

// Handle runs a handler on the event rid. It gives 0, or the error's code after its text was logged.
func Handle(rid int32, handler func(Event) error) int32 {
	data, code := getData(rid)
	err := error(nil)
	if code != 0 {
		err = refused("ws_get_data", code)
	} else {
		err = handler(Event{rid, data})
	}
	if err == nil {
		return 0
	}
	Log(Error, err.Error())
	var failure *Failure
	if errors.As(err, &failure) && failure.Code != 0 {
		return failure.Code
	}
	return General
}

// Type is the event's type.
func (e Event) Type() (string, error) {
	value, code := getEventType(e.rid)
	if code != 0 {
		return "", refused("ws_get_event_type", code)
	}
	return string(value), nil
}

// Device is the DID of the device that signed; empty if none did (a token's event, a trigger's).
func (e Event) Device() (string, error) {
	value, code := getContext(e.rid, 2)
	if code != 0 && code != 2 {
		return "", refused("ws_get_context", code)
	}
	return string(value), nil
}

func (e Event) number(item int32) (uint64, error) {
	value, code := getContext(e.rid, item)
	if code == 2 || code == 0 && len(value) != 8 {
		return 0, nil
	}
	if code != 0 {
		return 0, refused("ws_get_context", code)
	}
	return binary.BigEndian.Uint64(value), nil
}

// Time is the time that the sender gave, in milliseconds since the epoch; 0 if it gave none.
func (e Event) Time() (uint64, error) { return e.number(5) }

// Depth says how many events of handlers lead from the message to this event; 0 for a message itself.
func (e Event) Depth() (uint64, error) { return e.number(6) }

// Send sends an event to the handlers of the project that its type is routed to.
func Send(eventType string, payload []byte) error {
	switch code := sendEvent(eventType, payload); code {
	case 0:
		return nil
	case 11:
		return &Failure{TooDeep, eventType + " was not sent: too many events follow from each other"}
	case 12:
		return &Failure{TooMany, eventType + " was not sent: the message has caused too many events"}
	default:
		return refused("ws_send_event", code)
	}
}

// Answer answers who waits for the message's results, once per call.
func Answer(bytes []byte) error {
	if code := sendAnswer(bytes); code != 0 {
		return refused("ws_send_answer", code)
	}
	return nil
}

// JSON reads the payload into value, as encoding/json does.
func (e Event) JSON(value any) error {
	if err := json.Unmarshal(e.Data, value); err != nil {
		return &Failure{JSONExpected, err.Error()}
	}
	return nil
}

// Get gives the value of a key; nil if there is none.
func Get(key string) ([]byte, error) {
	value, code := getDB(key)
	switch code {
	case 0:
		return value, nil
	case 2:
		return nil, nil
	}
	return nil, refused("ws_get_db", code)
}

// Set sets a key.
func Set(key string, value []byte) error {
	if code := setDB(key, value); code != 0 {
		return refused("ws_set_db", code)
	}
	return nil
}

// GetInt gives the value of a key that holds a whole number in decimal; 0 if there is none.
func GetInt(key string) (int64, error) {
	value, err := Get(key)
	if err != nil || value == nil {
		return 0, err
	}
	return strconv.ParseInt(string(value), 10, 64)
}

// SetInt sets a key to a whole number, in decimal.
func SetInt(key string, value int64) error {
	return Set(key, strconv.AppendInt(nil, value, 10))
}

// Env gives a setting of the manifest, and whether there is one.
func Env(name string) (string, bool, error) {
	value, code := getEnv(name)
	switch code {
	case 0:
		return string(value), true, nil
	case 8:
		return "", false, nil
	}
	return "", false, refused("ws_get_env", code)
}

// Log logs a line.
func Log(level int32, line string) { log(level, line) }

// Publish asks for an MQTT message, which a node publishes once the block is agreed on.
func Publish(topic string, payload []byte) error {
	if code := sendMQTT(topic, payload); code != 0 {
		return refused("ws_send_mqtt_msg", code)
	}
	return nil
}

// Metrics submits an object, whose numbers become metrics of the node.
func Metrics(object map[string]any) error {
	text, err := json.Marshal(object)
	if err != nil {
		return err
	}
	if code := submitMetrics(text); code != 0 {
		return refused("ws_submit_metrics", code)
	}
	return nil
}

func statement(text string, params []any) ([]byte, error) {
	list := make([]map[string]any, 0, len(params))
	for _, param := range params {
		switch value := param.(type) {
		case nil:
			list = append(list, map[string]any{"string": nil})
		case int:
			list = append(list, map[string]any{"int64": int64(value)})
		case int64:
			list = append(list, map[string]any{"int64": value})
		case float64:
			list = append(list, map[string]any{"float64": value})
		case string:
			list = append(list, map[string]any{"string": value})
		case bool:
			list = append(list, map[string]any{"bool": value})
		case []byte:
			list = append(list, map[string]any{"bytes": value})
		default:
			return nil, fmt.Errorf("no parameter of SQL: %T", param)
		}
	}
	return json.Marshal(map[string]any{"statement": text, "params": list})
}

// Execute runs a statement of SQL with ? for each parameter: nil, int, int64, float64, string, bool or []byte.
func Execute(text string, params ...any) error {
	request, err := statement(text, params)
	if err != nil {
		return err
	}
	if code := setSQL(request); code != 0 {
		return refused("ws_set_sql_db", code)
	}
	return nil
}

// Query runs a statement and gives its rows: none, one JSON object, or an array of objects.
func Query(text string, params ...any) ([]byte, error) {
	request, err := statement(text, params)
	if err != nil {
		return nil, err
	}
	rows, code := getSQL(request)
	if code != 0 {
		return nil, refused("ws_get_sql_db", code)
	}
	return rows, nil
}
