package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"syscall"
)

// bareAck sends one TCP segment with only ACK set and an MD5 signature option (RFC 2385) from any
// source address: its receiver drops it without a word, but connection tracking has seen it.
func bareAck(arguments []string) error {
	if len(arguments) != 2 {
		return fmt.Errorf("bare-ack needs where from and where to")
	}
	from, err := netip.ParseAddrPort(arguments[0])
	if err != nil {
		return err
	}
	to, err := netip.ParseAddrPort(arguments[1])
	if err != nil {
		return err
	}
	return sendRaw(from, to, segment(from, to, 0x10))
}

// sendRaw sends a TCP segment in an IPv4 packet of its own making, whose source may be anybody's (CAP_NET_RAW).
func sendRaw(from, to netip.AddrPort, tcp []byte) error {
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_RAW, syscall.IPPROTO_RAW)
	if err != nil {
		return fmt.Errorf("a raw socket: %w", err)
	}
	defer syscall.Close(socket)
	packet := append(ipv4(from.Addr(), to.Addr(), len(tcp)), tcp...)
	return syscall.Sendto(socket, packet, 0, &syscall.SockaddrInet4{Addr: to.Addr().As4()})
}

// ipv4 is a header whose checksum the kernel fills in (raw(7)).
func ipv4(from, to netip.Addr, payload int) []byte {
	header := make([]byte, 20)
	header[0] = 0x45
	binary.BigEndian.PutUint16(header[2:], uint16(20+payload))
	header[8] = 64
	header[9] = syscall.IPPROTO_TCP
	copy(header[12:], from.AsSlice())
	copy(header[16:], to.AsSlice())
	return header
}

func segment(from, to netip.AddrPort, flags byte) []byte {
	tcp := make([]byte, 40)
	binary.BigEndian.PutUint16(tcp[0:], from.Port())
	binary.BigEndian.PutUint16(tcp[2:], to.Port())
	tcp[7], tcp[11] = 1, 1
	tcp[12] = byte(len(tcp)/4) << 4
	tcp[13] = flags
	binary.BigEndian.PutUint16(tcp[14:], 0xffff)
	tcp[20], tcp[21] = 19, 18 // the option and its length; its digest stays zero
	tcp[38], tcp[39] = 1, 1   // no-operation
	binary.BigEndian.PutUint16(tcp[16:], checksum(from.Addr(), to.Addr(), tcp))
	return tcp
}

// checksum is that of RFC 9293, section 3.1, over pseudo header and segment.
func checksum(from, to netip.Addr, tcp []byte) uint16 {
	pseudo := append(append(from.AsSlice(), to.AsSlice()...), 0, syscall.IPPROTO_TCP, 0, byte(len(tcp)))
	var sum uint32
	for _, part := range [][]byte{pseudo, tcp} {
		for at := 0; at < len(part); at += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[at:]))
		}
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// count prints a line for each TCP packet from an address to a port of this pod, until it is ended (CAP_NET_RAW).
func count(arguments []string) error {
	if len(arguments) != 2 {
		return fmt.Errorf("count needs where from and a port")
	}
	from, err := netip.ParseAddr(arguments[0])
	if err != nil {
		return err
	}
	var port uint16
	if _, err := fmt.Sscan(arguments[1], &port); err != nil {
		return err
	}
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_RAW, syscall.IPPROTO_TCP)
	if err != nil {
		return fmt.Errorf("a raw socket: %w", err)
	}
	buffer := make([]byte, 65536)
	for {
		length, _, err := syscall.Recvfrom(socket, buffer, 0)
		if err != nil {
			return err
		}
		if header := int(buffer[0]&0xf) * 4; length >= header+20 {
			source, _ := netip.AddrFromSlice(buffer[12:16])
			if source == from && binary.BigEndian.Uint16(buffer[header+2:]) == port {
				fmt.Printf("%s:%d\n", source, binary.BigEndian.Uint16(buffer[header:]))
			}
		}
	}
}
