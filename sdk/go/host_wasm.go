//go:build wasm

package w3bstream

import (
	"runtime"
	"unsafe"
)

//go:wasmimport env ws_log
func wsLog(level int32, text unsafe.Pointer, size uint32) int32

//go:wasmimport env ws_get_data
func wsGetData(rid int32, at, size unsafe.Pointer) int32

//go:wasmimport env ws_get_event_type
func wsGetEventType(rid int32, at, size unsafe.Pointer) int32

//go:wasmimport env ws_get_context
func wsGetContext(rid, item int32, at, size unsafe.Pointer) int32

//go:wasmimport env ws_get_db
func wsGetDB(key unsafe.Pointer, keySize uint32, at, size unsafe.Pointer) int32

//go:wasmimport env ws_set_db
func wsSetDB(key unsafe.Pointer, keySize uint32, value unsafe.Pointer, valueSize uint32) int32

//go:wasmimport env ws_get_env
func wsGetEnv(name unsafe.Pointer, nameSize uint32, at, size unsafe.Pointer) int32

//go:wasmimport env ws_set_sql_db
func wsSetSQL(json unsafe.Pointer, jsonSize uint32) int32

//go:wasmimport env ws_get_sql_db
func wsGetSQL(json unsafe.Pointer, jsonSize uint32, at, size unsafe.Pointer) int32

//go:wasmimport env ws_send_mqtt_msg
func wsSendMQTT(topic unsafe.Pointer, topicSize uint32, payload unsafe.Pointer, payloadSize uint32) int32

//go:wasmimport env ws_send_event
func wsSendEvent(name unsafe.Pointer, nameSize uint32, payload unsafe.Pointer, payloadSize uint32) int32

//go:wasmimport env ws_send_answer
func wsSendAnswer(answer unsafe.Pointer, size uint32) int32

//go:wasmimport stat ws_submit_metrics
func wsSubmitMetrics(json unsafe.Pointer, jsonSize uint32) int32

// What the host has been given: it must live until the answer was read.
var given = map[uint32][]byte{}

// The host puts its answers where this points.
//
//go:wasmexport alloc
func alloc(size uint32) uint32 {
	room := make([]byte, max(size, 1))
	at := uint32(uintptr(unsafe.Pointer(unsafe.SliceData(room))))
	given[at] = room
	return at
}

func answer(call func(at, size unsafe.Pointer) int32) ([]byte, int32) {
	var at, size uint32
	if code := call(unsafe.Pointer(&at), unsafe.Pointer(&size)); code != 0 {
		return nil, code
	}
	room := given[at]
	delete(given, at)
	return room[:size], 0
}

func pointer(bytes []byte) (unsafe.Pointer, uint32) {
	return unsafe.Pointer(unsafe.SliceData(bytes)), uint32(len(bytes))
}

func log(level int32, text string) {
	bytes := []byte(text)
	at, size := pointer(bytes)
	wsLog(level, at, size)
	runtime.KeepAlive(bytes)
}

func getData(rid int32) ([]byte, int32) {
	return answer(func(at, size unsafe.Pointer) int32 { return wsGetData(rid, at, size) })
}

func getEventType(rid int32) ([]byte, int32) {
	return answer(func(at, size unsafe.Pointer) int32 { return wsGetEventType(rid, at, size) })
}

func getContext(rid, item int32) ([]byte, int32) {
	return answer(func(at, size unsafe.Pointer) int32 { return wsGetContext(rid, item, at, size) })
}

func getDB(key string) ([]byte, int32) {
	name := []byte(key)
	defer runtime.KeepAlive(name)
	keyAt, keySize := pointer(name)
	return answer(func(at, size unsafe.Pointer) int32 { return wsGetDB(keyAt, keySize, at, size) })
}

func setDB(key string, value []byte) int32 {
	name := []byte(key)
	keyAt, keySize := pointer(name)
	at, size := pointer(value)
	code := wsSetDB(keyAt, keySize, at, size)
	runtime.KeepAlive(name)
	runtime.KeepAlive(value)
	return code
}

func getEnv(key string) ([]byte, int32) {
	name := []byte(key)
	defer runtime.KeepAlive(name)
	nameAt, nameSize := pointer(name)
	return answer(func(at, size unsafe.Pointer) int32 { return wsGetEnv(nameAt, nameSize, at, size) })
}

func setSQL(json []byte) int32 {
	at, size := pointer(json)
	code := wsSetSQL(at, size)
	runtime.KeepAlive(json)
	return code
}

func getSQL(json []byte) ([]byte, int32) {
	defer runtime.KeepAlive(json)
	jsonAt, jsonSize := pointer(json)
	return answer(func(at, size unsafe.Pointer) int32 { return wsGetSQL(jsonAt, jsonSize, at, size) })
}

func sendMQTT(topic string, payload []byte) int32 {
	name := []byte(topic)
	topicAt, topicSize := pointer(name)
	at, size := pointer(payload)
	code := wsSendMQTT(topicAt, topicSize, at, size)
	runtime.KeepAlive(name)
	runtime.KeepAlive(payload)
	return code
}

func sendEvent(eventType string, payload []byte) int32 {
	name := []byte(eventType)
	nameAt, nameSize := pointer(name)
	at, size := pointer(payload)
	code := wsSendEvent(nameAt, nameSize, at, size)
	runtime.KeepAlive(name)
	runtime.KeepAlive(payload)
	return code
}

func sendAnswer(bytes []byte) int32 {
	at, size := pointer(bytes)
	code := wsSendAnswer(at, size)
	runtime.KeepAlive(bytes)
	return code
}

func submitMetrics(json []byte) int32 {
	at, size := pointer(json)
	code := wsSubmitMetrics(at, size)
	runtime.KeepAlive(json)
	return code
}
