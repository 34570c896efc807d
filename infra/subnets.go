package infra

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// MaxZones is how many availability zones a network can span.
const MaxZones = 3

// Subnets divides a network's block into a private and a public block per zone.
//
// The layout does not depend on the number of zones, so that a zone more renumbers nothing: the block's first three quarters are
// the private blocks, its last quarter, divided by four again, holds the public ones.
func Subnets(block netip.Prefix, zones int) (private, public []netip.Prefix, err error) {
	if err := CheckBlock(block); err != nil {
		return nil, nil, err
	}
	if zones < 1 || zones > MaxZones {
		return nil, nil, fmt.Errorf("%d zones: take 1 to %d", zones, MaxZones)
	}
	last := quarter(block, 3)
	for zone := range zones {
		private = append(private, quarter(block, zone))
		public = append(public, quarter(last, zone))
	}
	return private, public, nil
}

// CheckBlock says whether a block can be a country's network.
func CheckBlock(block netip.Prefix) error {
	switch {
	case !block.Addr().Is4():
		return fmt.Errorf("%s is not an IPv4 block", block)
	case block != block.Masked():
		return fmt.Errorf("%s has bits set after its prefix; write %s", block, block.Masked())
	case block.Bits() < 16 || block.Bits() > 24:
		return fmt.Errorf("%s: a network has a prefix of /16 to /24", block)
	}
	return nil
}

// quarter is the n-th of the four equal parts of a block.
func quarter(block netip.Prefix, n int) netip.Prefix {
	bits := block.Bits() + 2
	start := block.Addr().As4()
	var addr [4]byte
	binary.BigEndian.PutUint32(addr[:], binary.BigEndian.Uint32(start[:])+uint32(n)<<(32-bits))
	return netip.PrefixFrom(netip.AddrFrom4(addr), bits)
}
