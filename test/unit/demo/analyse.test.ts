import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { analyseCapture, type FlowReport } from '../../../hack/demo/capture/analyse.ts';
import { ACK, BEGIN, type FixturePacket, pcap, SYN, send } from './pcap-fixture.ts';
import { type Conversation, recordTls } from './tls-fixture.ts';

const WEB = '10.244.1.2';
const CART = '10.244.2.3';
const STRANGER = '10.244.2.9';
const SHOP = new Set([WEB, CART]);
const REQUEST = 'GET /carts/7 HTTP/1.1\r\nhost: cart\r\n\r\n';

const toCart = { from: WEB, to: CART, sourcePort: 40000 };
const fromCart = { from: CART, to: WEB, destinationPort: 40000 };

/** A connection in which each side sends these bytes. */
function connection(port: number, client: Buffer, server: Buffer, options = {}): FixturePacket[] {
  return [
    ...send({ ...toCart, destinationPort: port }, client, options),
    ...send({ ...fromCart, sourcePort: port }, server, { synAck: true, initialSequence: 5000, ...options }),
  ];
}

const analyse = (packets: FixturePacket[]) => analyseCapture(pcap(packets), SHOP);
const onlyFlow = (packets: FixturePacket[]): FlowReport => {
  const { flows } = analyse(packets);
  assert.equal(flows.length, 1);
  const [flow] = flows;
  assert.ok(flow);
  return flow;
};
const complaints = (packets: FixturePacket[]) => onlyFlow(packets).readable.map(({ what }) => what);
const record = (type: number, body: Buffer) =>
  Buffer.concat([Buffer.from([type, 3, 3, body.length >> 8, body.length & 0xff]), body]);
/** Random bytes without a run that could pass for text or a record header. */
const ciphertext = (length: number) => Buffer.from(randomBytes(length).map((byte) => byte | 0x80));

describe('what a packet capture gives away', () => {
  let tls13: Conversation;
  let tls12: Conversation;

  before(async () => {
    const text = REQUEST.repeat(2000);
    tls13 = await recordTls('TLSv1.3', text);
    tls12 = await recordTls('TLSv1.2', text);
  });

  it('calls any payload between two shop pods readable when it is not in the tunnel', () => {
    for (const port of [80, 443, 6379, 15001, 15006, 15009]) {
      const flow = onlyFlow(connection(port, Buffer.from(REQUEST), ciphertext(10)));
      assert.equal(flow.tls, undefined);
      assert.equal(
        flow.readable.reduce((sum, { bytes }) => sum + bytes, 0),
        REQUEST.length + 10,
      );
      assert.match(flow.readable[0]?.sample ?? '', /^GET \/carts\/7 HTTP/);
      assert.equal(flow.readable[0]?.at, BEGIN + 1000);
    }
  });

  it('calls TLS outside the tunnel readable too: the mesh did not carry it', () => {
    assert.notEqual(complaints(connection(443, tls13.client, tls13.server)).length, 0);
  });

  it('does not count handshakes, acknowledgements and resets without payload', () => {
    const bare = [SYN, ACK, 0x14, 0x04].map((flags) => ({ ...toCart, destinationPort: 8080, flags }));
    assert.equal(analyse(bare).flows.flatMap((flow) => flow.readable).length, 0);
  });

  it('finds nothing readable in TLS 1.3 in the tunnel', () => {
    const flow = onlyFlow(connection(15008, tls13.client, tls13.server));
    assert.deepEqual(flow.readable, []);
    assert.equal(flow.tls?.handshakeSeen, true);
    assert.deepEqual(flow.tls?.alpn, ['h2']);
    assert.equal(flow.tls?.firstEncryptedAt, BEGIN + 1000);
    assert.ok((flow.tls?.encryptedBytes ?? 0) > 2 * REQUEST.length * 2000);
    assert.deepEqual([flow.client.address, flow.server.address], [WEB, CART]);
  });

  it('reads data that came with the first packet', () => {
    const [syn, ...rest] = send({ ...toCart, destinationPort: 15008 }, tls13.client.subarray(100), {
      initialSequence: 1100,
    });
    assert.ok(syn);
    const opening = { ...syn, sequence: 1000, payload: tls13.client.subarray(0, 100) };
    const flow = onlyFlow([
      opening,
      ...rest,
      ...send({ ...fromCart, sourcePort: 15008 }, tls13.server, { synAck: true }),
    ]);
    assert.deepEqual([flow.readable, flow.tls?.handshakeSeen], [[], true]);
  });

  it('is not put off by segments in any order, repeated, or cut small', () => {
    const packets = connection(15008, tls13.client, tls13.server, { size: 333 });
    const [syn, ...rest] = packets;
    assert.ok(syn);
    assert.deepEqual(complaints([syn, ...rest.reverse(), ...rest.slice(0, 5)]), []);
  });

  it('does not accept TLS 1.2, where certificates are in the clear', () => {
    const what = complaints(connection(15008, tls12.client, tls12.server)).join('; ');
    assert.match(what, /version 0x0303, not TLS 1\.3/);
    assert.match(what, /handshake message of type 11 that is not encrypted/);
  });

  it('does not accept a cipher suite that only signs', () => {
    const server = Buffer.from(tls13.server);
    const suiteAt = 5 + 4 + 2 + 32 + 1 + server.readUInt8(5 + 4 + 2 + 32);
    server.writeUInt16BE(0xc0b4, suiteAt); // TLS_SHA256_SHA256
    assert.match(complaints(connection(15008, tls13.client, server)).join(), /cipher suite 0xc0b4/);
  });

  it('finds plain HTTP and plain Redis on the tunnel port', () => {
    for (const text of [REQUEST, '*2\r\n$7\r\nHGETALL\r\n$6\r\ncart:7\r\n', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n']) {
      assert.deepEqual(complaints(connection(15008, Buffer.from(text), Buffer.alloc(0))), ['no TLS record']);
      assert.deepEqual(complaints(connection(15008, Buffer.from(text), Buffer.alloc(0), { syn: false })), [
        'no TLS record',
      ]);
    }
  });

  it('finds text dressed up as a TLS record', () => {
    const dressed = record(23, Buffer.from(REQUEST));
    const afterHello = Buffer.concat([tls13.client, dressed]);
    assert.match(complaints(connection(15008, afterHello, tls13.server)).join(), /readable text in place of cipher/);
    assert.match(complaints(connection(15008, dressed, Buffer.alloc(0))).join(), /before the hello/);
    assert.match(complaints(send({ ...toCart, destinationPort: 15008 }, dressed, { syn: false })).join(), /readable/);
  });

  it('finds text of no protocol it knows, too', () => {
    const letter = record(23, Buffer.from('{"card":"4111 1111 1111 1111","name":"A. Customer"}'));
    const packets = connection(15008, Buffer.concat([tls13.client, letter]), tls13.server);
    assert.match(complaints(packets).join(), /readable text/);
  });

  it('finds text that follows proper TLS', () => {
    const flow = onlyFlow(connection(15008, Buffer.concat([tls13.client, Buffer.from(REQUEST)]), tls13.server));
    assert.equal(flow.readable.length, 1);
    assert.equal(flow.readable[0]?.bytes, REQUEST.length);
  });

  it('finds handshake messages and alerts in the clear after the keys are there', () => {
    const helloAgain = tls13.client.subarray(0, 5 + tls13.client.readUInt16BE(3));
    const longCipherSpec = record(20, Buffer.concat([Buffer.from([1]), ciphertext(9)]));
    for (const odd of [helloAgain, record(22, ciphertext(40)), record(21, Buffer.from([1, 0])), longCipherSpec]) {
      assert.equal(complaints(connection(15008, Buffer.concat([tls13.client, odd]), tls13.server)).length, 1);
    }
  });

  it('follows a connection that it meets in the middle of a record', () => {
    for (const skip of [2000, 2001, 2004, 2005, 9000, tls13.client.length - 9000]) {
      const rest = tls13.client.subarray(skip);
      const packets = send({ ...toCart, destinationPort: 15008 }, rest, { syn: false, initialSequence: 77 });
      const flow = onlyFlow(packets);
      assert.deepEqual(flow.readable, [], `skipped ${skip}`);
      assert.equal(flow.tls?.handshakeSeen, false);
    }
  });

  it('does not take bytes without any record header for the middle of a record', () => {
    const packets = send({ ...toCart, destinationPort: 15008 }, ciphertext(900), { syn: false });
    assert.deepEqual(complaints(packets), ['no TLS record']);
  });

  it('does not let text hide before the first whole record of a connection met in the middle', () => {
    const bytes = Buffer.concat([Buffer.from(REQUEST), record(23, ciphertext(900))]);
    assert.match(complaints(send({ ...toCart, destinationPort: 15008 }, bytes, { syn: false })).join(), /readable/);
  });

  it('goes on after a packet that the capture missed', () => {
    const packets = connection(15008, tls13.client, tls13.server);
    const lossy = packets.filter((_, index) => index !== 5);
    assert.deepEqual(complaints(lossy), []);
  });

  it('finds a retransmission that says something else', () => {
    const twofaced = { ...toCart, destinationPort: 15008, sequence: 1101, payload: REQUEST, atMs: 9 };
    const packets = [...connection(15008, tls13.client, tls13.server), twofaced];
    assert.deepEqual(complaints(packets), ['a retransmission with other content']);
  });

  it('keeps two connections on the same ports apart', () => {
    const first = connection(15008, tls13.client, tls13.server);
    const second = connection(15008, tls13.client, tls13.server, { initialSequence: 90_000, atMs: 50 });
    const { flows } = analyse([...first, ...second]);
    assert.equal(flows.length, 2);
    assert.deepEqual(
      flows.map((flow) => flow.tls?.handshakeSeen),
      [true, true],
    );
  });

  it('finds what is not TCP between shop pods, and fragments', () => {
    const udp = { from: WEB, to: CART, protocol: 17, payload: 'hello' };
    const fragment = { ...toCart, fragment: 0x2000, payload: REQUEST };
    const icmp = { from: WEB, to: CART, protocol: 1, payload: 'unreachable' };
    assert.deepEqual(
      analyse([udp, fragment, icmp]).other.map(({ what }) => what),
      ['IP protocol 17', 'a TCP fragment or broken segment'],
    );
  });

  it('leaves out what is not between two shop pods', () => {
    const strangers = [
      { from: WEB, to: STRANGER, payload: REQUEST },
      { from: STRANGER, to: WEB, payload: REQUEST },
    ];
    const { flows, other, packets } = analyse(strangers);
    assert.deepEqual([flows, other, packets], [[], [], 2]);
  });

  it('says when packets of the shop were captured in part only', () => {
    assert.equal(analyse([{ ...toCart, payload: REQUEST, snap: 60 }]).truncated, 1);
  });
});
