package device

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Kind says what became of a message that was sent.
type Kind int

const (
	// Accepted: the node has it.
	Accepted Kind = iota
	// Refused: these bytes will never be accepted.
	Refused
	// Later: not now, or nobody answered: the same bytes again.
	Later
)

// Outcome is what became of a message that was sent.
type Outcome struct {
	Kind      Kind
	Duplicate bool          // accepted: the node had it before
	Mode      string        // accepted: what is promised
	Code      string        // refused, later: a code of docs/devices.md, or "unreachable", "dropped"
	Detail    string        // in words
	NextEpoch *uint32       // refused as too-old: the boot epoch to go on in
	Wait      time.Duration // later: at least this long
}

// Transport sends messages. Window is how many may be under way at a time.
type Transport interface {
	Window() int
	Send(entry *Entry, contentType string) Outcome
}

var transient = map[string]bool{"overloaded": true, "shutting-down": true, "storage-failing": true, "not-ready": true}

// ReadAnswer says what an answer of POST …/events means. What is not the node's own refusal (a proxy's, a 500) is tried
// again, since nothing that could still be delivered is given up.
func ReadAnswer(status int, retryAfter string, body []byte) Outcome {
	var answer struct {
		Duplicate bool    `json:"duplicate"`
		Mode      string  `json:"mode"`
		Code      string  `json:"code"`
		Detail    string  `json:"detail"`
		NextEpoch *uint32 `json:"next_epoch"`
	}
	err := json.Unmarshal(body, &answer)
	if status == http.StatusOK || status == http.StatusCreated {
		return Outcome{Kind: Accepted, Duplicate: answer.Duplicate, Mode: answer.Mode}
	}
	own := err == nil && answer.Code != "" && !transient[answer.Code]
	if own && status >= 400 && status < 500 && status != http.StatusRequestTimeout && status != http.StatusTooManyRequests {
		return Outcome{Kind: Refused, Code: answer.Code, Detail: answer.Detail, NextEpoch: answer.NextEpoch}
	}
	if answer.Code == "" {
		answer.Code = fmt.Sprintf("http-%d", status)
	}
	// A date, which a node does not send, counts as nothing.
	seconds, _ := strconv.ParseUint(retryAfter, 10, 16)
	return Outcome{Kind: Later, Code: answer.Code, Detail: answer.Detail, Wait: time.Duration(seconds) * time.Second}
}

// HTTP sends over HTTP on a few connections that stay open.
type HTTP struct {
	Client      *http.Client
	Connections int
	events      string
}

// NewHTTP takes the node's URL, such as http://127.0.0.1:8889.
func NewHTTP(node, project string) (*HTTP, error) {
	parsed, err := url.Parse(node)
	if err != nil || (parsed.Scheme != "http" && parsed.Scheme != "https") || parsed.Host == "" {
		return nil, fmt.Errorf("%q is no http or https URL", node)
	}
	events := strings.TrimRight(node, "/") + "/v1/projects/" + url.PathEscape(project) + "/events"
	never := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &HTTP{&http.Client{Timeout: 30 * time.Second, CheckRedirect: never}, 4, events}, nil
}

// Window is the number of connections.
func (h *HTTP) Window() int { return h.Connections }

// Send sends one message and says what became of it.
func (h *HTTP) Send(entry *Entry, contentType string) Outcome {
	answer, err := h.Client.Post(h.events, contentType, bytes.NewReader(entry.Body))
	if err != nil {
		return Outcome{Kind: Later, Code: "unreachable", Detail: err.Error()}
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return Outcome{Kind: Later, Code: "unreachable", Detail: err.Error()}
	}
	return ReadAnswer(answer.StatusCode, answer.Header.Get("Retry-After"), body)
}
