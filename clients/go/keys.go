package device

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"strings"
)

// Key is a private key: Ed25519 ("EdDSA") or P-256 ("ES256"). The standard library has no secp256k1.
type Key struct {
	Algorithm string
	secret    []byte
	ed        ed25519.PrivateKey
	ec        *ecdsa.PrivateKey
}

// NewKey takes a secret of 32 bytes.
func NewKey(algorithm string, secret []byte) (*Key, error) {
	if len(secret) != 32 {
		return nil, fmt.Errorf("a secret key has 32 bytes, not %d", len(secret))
	}
	key := &Key{Algorithm: algorithm, secret: append([]byte(nil), secret...)}
	switch algorithm {
	case "EdDSA":
		key.ed = ed25519.NewKeyFromSeed(secret)
	case "ES256":
		curve := elliptic.P256()
		ec := &ecdsa.PrivateKey{D: new(big.Int).SetBytes(secret)}
		if ec.D.Sign() == 0 || ec.D.Cmp(curve.Params().N) >= 0 {
			return nil, errors.New("the secret is not between 0 and the curve's order")
		}
		ec.Curve = curve
		ec.X, ec.Y = curve.ScalarBaseMult(secret)
		key.ec = ec
	default:
		return nil, fmt.Errorf("algorithm %q is neither EdDSA nor ES256", algorithm)
	}
	return key, nil
}

// GenerateKey makes a new key.
func GenerateKey(algorithm string) (*Key, error) {
	for {
		secret := make([]byte, 32)
		if _, err := rand.Read(secret); err != nil {
			return nil, err
		}
		key, err := NewKey(algorithm, secret)
		// A P-256 secret above the order comes once in 2^32 times.
		if err == nil || algorithm != "ES256" {
			return key, err
		}
	}
}

type keyFile struct {
	Algorithm string `json:"algorithm"`
	Secret    string `json:"secret_key"`
}

// LoadOrMakeKey reads the key in a file, which is made (mode 0600) if it is not there.
func LoadOrMakeKey(path, algorithm string) (*Key, error) {
	data, err := os.ReadFile(path)
	if err == nil {
		var saved keyFile
		if err := json.Unmarshal(data, &saved); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		secret, err := hex.DecodeString(saved.Secret)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return NewKey(saved.Algorithm, secret)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	key, err := GenerateKey(algorithm)
	if err != nil {
		return nil, err
	}
	data, err = json.Marshal(keyFile{algorithm, hex.EncodeToString(key.secret)})
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = file.Write(data)
	return key, errors.Join(err, file.Sync(), file.Close())
}

// Sign gives 64 bytes: Ed25519's signature, or r ‖ s over SHA-256, deterministic (RFC 6979) and with the low s.
func (k *Key) Sign(message []byte) ([]byte, error) {
	if k.ed != nil {
		return ed25519.Sign(k.ed, message), nil
	}
	digest := sha256.Sum256(message)
	der, err := k.ec.Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	r, s, err := readDER(der)
	if err != nil {
		return nil, err
	}
	n := k.ec.Params().N
	if other := new(big.Int).Sub(n, s); other.Cmp(s) < 0 {
		s = other
	}
	out := make([]byte, 64)
	r.FillBytes(out[:32])
	s.FillBytes(out[32:])
	return out, nil
}

var multicodec = map[string][]byte{"EdDSA": {0xed, 0x01}, "ES256": {0x80, 0x24}}

// DIDKey is the key's did:key.
func (k *Key) DIDKey() string {
	data := append([]byte(nil), multicodec[k.Algorithm]...)
	if k.ed != nil {
		data = append(data, k.ed.Public().(ed25519.PublicKey)...)
	} else {
		data = append(data, elliptic.MarshalCompressed(k.ec.Curve, k.ec.X, k.ec.Y)...)
	}
	return "did:key:z" + base58(data)
}

// DIDJWK is the key's did:jwk. Its members are in lexical order; another order would be another DID.
func (k *Key) DIDJWK() string {
	b64 := base64.RawURLEncoding.EncodeToString
	var jwk string
	if k.ed != nil {
		jwk = fmt.Sprintf(`{"crv":"Ed25519","kty":"OKP","x":"%s"}`, b64(k.ed.Public().(ed25519.PublicKey)))
	} else {
		x, y := k.ec.X.FillBytes(make([]byte, 32)), k.ec.Y.FillBytes(make([]byte, 32))
		jwk = fmt.Sprintf(`{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}`, b64(x), b64(y))
	}
	return "did:jwk:" + b64([]byte(jwk))
}

func base58(data []byte) string {
	const alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
	number, base, digit := new(big.Int).SetBytes(data), big.NewInt(58), new(big.Int)
	var reversed []byte
	for number.Sign() > 0 {
		number.DivMod(number, base, digit)
		reversed = append(reversed, alphabet[digit.Int64()])
	}
	var text strings.Builder
	for _, b := range data {
		if b != 0 {
			break
		}
		text.WriteByte('1')
	}
	for i := len(reversed) - 1; i >= 0; i-- {
		text.WriteByte(reversed[i])
	}
	return text.String()
}
