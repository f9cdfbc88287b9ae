//go:build !unix

package device

import "os"

// lockFile does not lock on these systems: give each process its own file.
func lockFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
}
