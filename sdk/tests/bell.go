package main

import "applet/w3bstream"

// Sends a message on as an event, and answers; of an event it keeps how many led to it. scripts/test-kits puts it beside an applet.
//
//go:wasmexport bell
func bell(rid int32) int32 {
	return w3bstream.Handle(rid, func(event w3bstream.Event) error {
		depth, err := event.Depth()
		if err != nil {
			return err
		}
		if depth > 0 {
			return w3bstream.SetInt("depth", int64(depth))
		}
		if err := w3bstream.Send("bell", event.Data); err != nil {
			return err
		}
		return w3bstream.Answer([]byte("sent"))
	})
}
