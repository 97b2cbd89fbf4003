package cli

import "testing"

// TestKernelKind: the releases are those that WSL prints, the log gVisor's.
func TestKernelKind(t *testing.T) {
	for _, test := range [...][3]string{
		{"6.18.0-amd64", "", ""},
		{"6.8.0-1017-azure", "Linux version 6.8.0-1017-azure (buildd@lcy02) Microsoft Hyper-V", ""},
		{"5.15.167.4-microsoft-standard-WSL2", "", "wsl2"},
		{"4.4.0-19041-Microsoft", "", "wsl1"},
		{"4.4.0", "<6>[    0.000000] Starting gVisor...\n<6>[    0.354495] Daemonizing children...\n", "gvisor"},
	} {
		if have := kernelKind(test[0], test[1]); have != test[2] {
			t.Errorf("%s: %q, want %q", test[0], have, test[2])
		}
	}
}
