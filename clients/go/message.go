package device

import (
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/big"
	"regexp"
	"strings"
)

// The content types of the two forms.
const (
	EnvelopeType = "application/vnd.w3bstream.envelope"
	JWSType      = "application/jose"
)

var typePattern = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)

// Message is one message before it is signed: docs/devices.md, "What is signed". Time is in milliseconds, 0 without a
// clock; Salt is 16 random bytes, never used twice.
type Message struct {
	Audience [32]byte
	Key      string
	Type     string
	Sequence uint64
	Time     uint64
	Salt     [16]byte
	Payload  []byte
}

// tagged is H(tag, parts…): SHA-256 over each part behind its length as 8 bytes, big-endian.
func tagged(tag string, parts ...[]byte) [32]byte {
	h := sha256.New()
	for _, part := range append([][]byte{[]byte(tag)}, parts...) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write(part)
	}
	return [32]byte(h.Sum(nil))
}

// ProjectID is the audience of a project.
func ProjectID(owner, project string) [32]byte {
	return tagged("w3b/project/1", []byte(owner), []byte(project))
}

// KeyID is the DID URL of a DID's only key.
func KeyID(did string) string {
	if rest, found := strings.CutPrefix(did, "did:key:"); found {
		return did + "#" + rest
	}
	return did + "#0"
}

// head is the shortest head of a CBOR item (RFC 8949).
func head(out []byte, major byte, n uint64) []byte {
	switch {
	case n < 24:
		return append(out, major<<5|byte(n))
	case n < 1<<8:
		return append(out, major<<5|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(out, major<<5|25), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(out, major<<5|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(out, major<<5|27), n)
}

// SigningInput is what an envelope's signature is over.
func (m *Message) SigningInput() ([]byte, error) {
	if !typePattern.MatchString(m.Type) {
		return nil, fmt.Errorf("the event type %q is not [a-z0-9-]{1,63}", m.Type)
	}
	text := func(out []byte, value string) []byte { return append(head(out, 3, uint64(len(value))), value...) }
	digest := tagged("w3b/payload/1", m.Salt[:], m.Payload)
	out := text(head(nil, 4, 8), "w3b/message")
	out = append(head(head(out, 0, 1), 2, 32), m.Audience[:]...)
	out = head(head(text(text(out, m.Key), m.Type), 0, m.Sequence), 0, m.Time)
	return append(head(out, 2, 32), digest[:]...), nil
}

// Envelope gives the protobuf envelope and the message's id in hex.
func (m *Message) Envelope(key *Key) ([]byte, string, error) {
	signed, err := m.SigningInput()
	if err != nil {
		return nil, "", err
	}
	signature, err := key.Sign(signed)
	if err != nil {
		return nil, "", err
	}
	var out []byte
	number := func(field, n uint64) {
		if n != 0 {
			out = binary.AppendUvarint(binary.AppendUvarint(out, field<<3), n)
		}
	}
	bytes := func(field uint64, value []byte) {
		if len(value) != 0 {
			out = binary.AppendUvarint(binary.AppendUvarint(out, field<<3|2), uint64(len(value)))
			out = append(out, value...)
		}
	}
	number(1, 1)
	bytes(2, m.Audience[:])
	bytes(3, []byte(m.Key))
	bytes(4, []byte(m.Type))
	number(5, m.Sequence)
	number(6, m.Time)
	bytes(7, m.Salt[:])
	bytes(8, m.Payload)
	bytes(9, signature)
	id := tagged("w3b/message/1", signed)
	return out, hex.EncodeToString(id[:]), nil
}

// JWS gives the compact JWS and the message's id in hex. The time is cut to seconds; the salt is not used.
func (m *Message) JWS(key *Key) ([]byte, string, error) {
	if _, err := m.SigningInput(); err != nil {
		return nil, "", err
	}
	b64 := base64.RawURLEncoding.EncodeToString
	// Neither a DID URL nor a type has what JSON would escape.
	header := fmt.Sprintf(`{"alg":"%s","kid":"%s","typ":"w3b+jws"}`, key.Algorithm, m.Key)
	claims := fmt.Sprintf(`{"aud":"%x","data":"%s","iat":%d,"seq":"%d","type":"%s"}`,
		m.Audience, b64(m.Payload), m.Time/1000, m.Sequence, m.Type)
	signed := b64([]byte(header)) + "." + b64([]byte(claims))
	signature, err := key.Sign([]byte(signed))
	if err != nil {
		return nil, "", err
	}
	id := tagged("w3b/message/1", []byte(signed))
	return []byte(signed + "." + b64(signature)), hex.EncodeToString(id[:]), nil
}

func readDER(der []byte) (r, s *big.Int, err error) {
	var both struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &both); err != nil {
		return nil, nil, err
	}
	return both.R, both.S, nil
}
