import assert from 'node:assert/strict';
import { parseFrame } from '../../../hack/demo/capture/packet.ts';
import { readPcap } from '../../../hack/demo/capture/pcap.ts';
import { BEGIN, pcap, SYN } from './pcap-fixture.ts';

const packet = { from: '10.244.1.2', to: '10.244.2.3', payload: 'hello', atMs: 1500.25, sequence: 0xfffffff0 };

describe('reading a packet capture', () => {
  for (const littleEndian of [true, false]) {
    for (const nanoseconds of [true, false]) {
      it(`reads a file of ${littleEndian ? 'little' : 'big'} endian, ${nanoseconds ? 'nano' : 'micro'}seconds`, () => {
        const capture = readPcap(pcap([packet], { littleEndian, nanoseconds }));
        assert.equal(capture.packets.length, 1);
        assert.equal(capture.packets[0]?.at, BEGIN + 1_500_250);
        assert.equal(capture.endsInsidePacket, false);
      });
    }
  }

  it('reads what is whole of a file that is still being written', () => {
    const whole = pcap([packet, packet]);
    for (const cut of [1, 20, 60]) {
      const capture = readPcap(whole.subarray(0, whole.length - cut));
      assert.equal(capture.packets.length, 1);
      assert.equal(capture.endsInsidePacket, true);
    }
  });

  it('refuses what is no capture, and link types it does not know', () => {
    assert.throws(() => readPcap(Buffer.alloc(0)), /only 0 bytes/);
    assert.throws(() => readPcap(Buffer.alloc(100)), /begins with 00000000/);
    assert.throws(() => readPcap(pcap([], { linkType: 105 })), /link type 105/);
  });

  it('says how much of a packet was not captured', () => {
    assert.equal(readPcap(pcap([{ ...packet, snap: 56 }])).packets[0]?.missingBytes, 3);
  });
});

describe('reading a packet', () => {
  const expected = { kind: 'tcp', source: '10.244.1.2', destination: '10.244.2.3', sequence: 0xfffffff0 };
  const frameOf = (bytes: Buffer) => readPcap(bytes).packets[0]?.frame ?? Buffer.alloc(0);

  it('finds TCP in Ethernet, in Linux cooked and in VLAN frames', () => {
    const ethernet = frameOf(pcap([packet]));
    const vlan = Buffer.concat([ethernet.subarray(0, 12), Buffer.from('81000064', 'hex'), ethernet.subarray(12)]);
    const frames = [
      parseFrame('ethernet', ethernet),
      parseFrame('ethernet', vlan),
      parseFrame('linux-sll2', frameOf(pcap([packet], { linkType: 276 }))),
    ];
    for (const found of frames) {
      assert.partialDeepStrictEqual(found, expected);
      assert.equal(found?.payload.toString(), 'hello');
    }
  });

  it('leaves out the padding of a short Ethernet frame', () => {
    const padded = Buffer.concat([frameOf(pcap([{ ...packet, payload: '' }])), Buffer.alloc(6)]);
    assert.equal(parseFrame('ethernet', padded)?.payload.length, 0);
  });

  it('does not take a fragment, another protocol or a broken header for TCP', () => {
    for (const odd of [{ fragment: 0x2000 }, { fragment: 0x00b9 }, { protocol: 17 }, { snap: 44 }]) {
      assert.equal(parseFrame('ethernet', frameOf(pcap([{ ...packet, ...odd }])))?.kind, 'other');
    }
  });

  it('reads TCP over IPv6', () => {
    const tcp = frameOf(pcap([{ ...packet, flags: SYN }])).subarray(34);
    const header = Buffer.alloc(40);
    header.writeUInt8(0x60, 0);
    header.writeUInt16BE(tcp.length, 4);
    header.writeUInt8(6, 6);
    header.writeUInt8(1, 23);
    header.writeUInt8(2, 39);
    const ethernet = Buffer.from('02020202020204040404040486dd', 'hex');
    assert.partialDeepStrictEqual(parseFrame('ethernet', Buffer.concat([ethernet, header, tcp])), {
      kind: 'tcp',
      source: '0:0:0:0:0:0:0:1',
      destination: '0:0:0:0:0:0:0:2',
      syn: true,
    });
  });

  it('finds nothing in ARP and in frames that are cut off', () => {
    assert.equal(parseFrame('ethernet', Buffer.from('0202020202020404040404040806', 'hex')), undefined);
    const frame = frameOf(pcap([packet]));
    for (let length = 0; length < 34; length += 1) {
      assert.equal(parseFrame('ethernet', frame.subarray(0, length)), undefined);
    }
  });
});
