package infra

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func TestSubnetsHaveExactlyTheseBlocks(t *testing.T) {
	for _, c := range []struct {
		block           string
		zones           int
		private, public string
	}{
		{"10.16.0.0/16", 1, "[10.16.0.0/18]", "[10.16.192.0/20]"},
		{"10.16.0.0/16", 2, "[10.16.0.0/18 10.16.64.0/18]", "[10.16.192.0/20 10.16.208.0/20]"},
		{"10.16.0.0/16", 3, "[10.16.0.0/18 10.16.64.0/18 10.16.128.0/18]", "[10.16.192.0/20 10.16.208.0/20 10.16.224.0/20]"},
		{"192.168.7.0/24", 3, "[192.168.7.0/26 192.168.7.64/26 192.168.7.128/26]", "[192.168.7.192/28 192.168.7.208/28 192.168.7.224/28]"},
		{"10.255.240.0/20", 2, "[10.255.240.0/22 10.255.244.0/22]", "[10.255.252.0/24 10.255.253.0/24]"},
	} {
		private, public, err := Subnets(netip.MustParsePrefix(c.block), c.zones)
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(private) != c.private || fmt.Sprint(public) != c.public {
			t.Errorf("%s over %d zones: private %v, public %v", c.block, c.zones, private, public)
		}
	}
}

func TestSubnetsOfABlockNeverOverlap(t *testing.T) {
	for bits := 16; bits <= 24; bits++ {
		block := netip.PrefixFrom(netip.MustParseAddr("172.20.0.0"), bits)
		private, public, err := Subnets(block, MaxZones)
		if err != nil {
			t.Fatal(err)
		}
		all := append(private, public...)
		for i, a := range all {
			if !block.Contains(a.Addr()) {
				t.Errorf("%s is outside %s", a, block)
			}
			for _, b := range all[:i] {
				if a.Overlaps(b) {
					t.Errorf("%s overlaps %s", a, b)
				}
			}
		}
	}
}

func TestBlocksThatCannotBeANetworkAreRefused(t *testing.T) {
	for block, reason := range map[string]string{
		"10.0.0.0/8":   "/16 to /24",
		"10.0.0.0/25":  "/16 to /24",
		"10.16.4.0/16": "write 10.16.0.0/16",
		"fd00::/16":    "not an IPv4 block",
	} {
		if _, _, err := Subnets(netip.MustParsePrefix(block), 2); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: %v, want it to say %q", block, err, reason)
		}
	}
	if _, _, err := Subnets(netip.MustParsePrefix("10.0.0.0/16"), 4); err == nil || err.Error() != "4 zones: take 1 to 3" {
		t.Errorf("four zones: %v", err)
	}
}
