package layer

import "golang.org/x/sys/unix"

// randomName is 16 characters that nobody can guess, 80 bits. It asks the kernel
// itself: crypto/rand brings packages along whose initialisation every start of
// sbx would pay for.
func randomName() (string, error) {
	var b [16]byte
	for n := 0; n < len(b); {
		k, err := unix.Getrandom(b[n:], 0)
		if err != nil && err != unix.EINTR {
			return "", pathError("getrandom", "", err)
		}
		n += max(k, 0)
	}
	for i := range b {
		b[i] = "abcdefghijklmnopqrstuvwxyz234567"[b[i]&31]
	}
	return string(b[:]), nil
}
