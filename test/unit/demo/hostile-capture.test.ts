import assert from 'node:assert/strict';
import fc from 'fast-check';
import { analyseCapture } from '../../../hack/demo/capture/analyse.ts';
import { parseFrame } from '../../../hack/demo/capture/packet.ts';
import { readTls } from '../../../hack/demo/capture/tls.ts';
import { pcap, SYN } from './pcap-fixture.ts';

const WEB = '10.244.1.2';
const CART = '10.244.2.3';
const bytes = (maxLength: number) => fc.uint8Array({ maxLength }).map((array) => Buffer.from(array));
const sides = fc.constantFrom('client' as const, 'server' as const);

describe('R28 the capture reader on hostile input', () => {
  it('R28 reads any frame, or finds nothing in it', () => {
    fc.assert(
      fc.property(fc.constantFrom('ethernet' as const, 'linux-sll2' as const), bytes(120), (linkType, frame) => {
        const ip = Buffer.concat([Buffer.alloc(12), Buffer.from([8, 0, 0x45]), frame]);
        for (const each of [frame, ip]) parseFrame(linkType, each);
      }),
      { numRuns: 5000 },
    );
  });

  it('R28 never finds random bytes to be TLS from their start', () => {
    fc.assert(
      fc.property(bytes(200), sides, (noise, side) => {
        const { problems, hello } = readTls(noise, side, true);
        assert.equal(hello, undefined);
        assert.ok(problems.length > 0 || noise.length < 5);
      }),
      { numRuns: 5000 },
    );
  });

  it('R28 survives any hello', () => {
    fc.assert(
      fc.property(bytes(300), sides, (body, side) => {
        const message = Buffer.concat([Buffer.from([side === 'client' ? 1 : 2, 0, 0, 0]), body]);
        message.writeUIntBE(body.length, 1, 3);
        const record = Buffer.concat([Buffer.from([22, 3, 3, 0, 0]), message]);
        record.writeUInt16BE(message.length, 3);
        readTls(record, side, true);
      }),
      { numRuns: 5000 },
    );
  });

  it('R28 counts every byte that does not go through the tunnel, whatever it is and however it comes', () => {
    const packet = fc.record({
      from: fc.constantFrom(WEB, CART),
      sourcePort: fc.integer({ min: 1, max: 65535 }).filter((port) => port !== 15008),
      destinationPort: fc.integer({ min: 1, max: 65535 }).filter((port) => port !== 15008),
      sequence: fc.nat(0xffffffff),
      flags: fc.constantFrom(0, SYN, 0x10, 0x18, 0x04, 0xff),
      payload: bytes(40),
    });
    fc.assert(
      fc.property(fc.array(packet, { maxLength: 20 }), (packets) => {
        const sent = packets.map((each) => ({ ...each, to: each.from === WEB ? CART : WEB }));
        const { flows } = analyseCapture(pcap(sent), new Set([WEB, CART]));
        const readable = flows.flatMap((flow) => flow.readable).reduce((sum, each) => sum + each.bytes, 0);
        assert.equal(
          readable,
          packets.reduce((sum, { payload }) => sum + payload.length, 0),
        );
      }),
    );
  });

  it('R28 finds text on the tunnel port in any sequence of segments', () => {
    const text = 'GET /carts/7 HTTP/1.1\r\nhost: cart\r\nauthorization: secret\r\n\r\n';
    const cuts = fc.array(fc.integer({ min: 1, max: text.length - 1 }), { maxLength: 6 });
    fc.assert(
      fc.property(cuts, fc.nat(0xffffffff), fc.boolean(), (positions, start, syn) => {
        const edges = [...new Set([0, ...positions, text.length])].sort((a, b) => a - b);
        const ends = { from: WEB, to: CART, sourcePort: 40000, destinationPort: 15008 };
        const segments = edges.slice(0, -1).map((edge, i) => ({
          ...ends,
          sequence: (start + 1 + edge) >>> 0,
          payload: text.slice(edge, edges[i + 1]),
        }));
        const opening = syn ? [{ ...ends, sequence: start, flags: SYN }] : [];
        const { flows } = analyseCapture(pcap([...opening, ...segments.reverse()]), new Set([WEB, CART]));
        assert.ok(flows.some((flow) => flow.readable.length > 0));
      }),
    );
  });
});
