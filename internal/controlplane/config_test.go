package controlplane

import (
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		cfg    Config
		want   []string // parts of the error; none means that it is fine
	}{
		"Minimal":      {"a folder is enough", Config{DataDir: "d"}, nil},
		"NoFolder":     {"the state must be somewhere", Config{}, []string{"data-dir is empty"}},
		"Everything":   {"all that is wrong is told at once", Config{Listen: "x", EtcdCertFile: "c"}, []string{"data-dir", "listen", "belong together", "without etcd-servers"}},
		"Name":         {"a name may be several addresses", Config{DataDir: "d", Listen: "localhost:1"}, []string{`"localhost" is not an address`}},
		"AllAddresses": {"no address means all", Config{DataDir: "d", Listen: ":6443"}, nil},
		"Port":         {"ports end at 65535", Config{DataDir: "d", Listen: "127.0.0.1:65536"}, []string{`port "65536"`}},
		"External":     {"https with an authority", Config{DataDir: "d", EtcdServers: []string{"https://192.0.2.1:2379"}, EtcdCAFile: "ca"}, nil},
		"NoAuthority":  {"whom nobody verifies can be anybody", Config{DataDir: "d", EtcdServers: []string{"https://192.0.2.1:2379"}}, []string{"needs etcd-ca-file"}},
		"Plain":        {"secrets must not cross a network in the clear", Config{DataDir: "d", EtcdServers: []string{"http://192.0.2.1:2379"}}, []string{"neither https nor on this machine"}},
		"PlainLocal":   {"on this machine they may", Config{DataDir: "d", EtcdServers: []string{"http://127.0.0.1:2379"}}, nil},
		"NotURL":       {"a host alone is no URL", Config{DataDir: "d", EtcdServers: []string{"192.0.2.1:2379"}}, []string{"is not a URL"}},
	} {
		t.Run(name, func(t *testing.T) {
			tc.cfg.Defaults()
			err := tc.cfg.Validate()
			if (err == nil) != (tc.want == nil) {
				t.Fatalf("%s: %v", tc.reason, err)
			}
			for _, part := range tc.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%s: want %q in: %v", tc.reason, part, err)
				}
			}
		})
	}
}
