import assert from 'node:assert/strict';
import fc from 'fast-check';
import { arrivalAt, reassemble, type Segment } from '../../../hack/demo/capture/stream.ts';

const segment = (sequence: number, text: string, at = 0): Segment => ({
  at,
  sequence: sequence >>> 0,
  payload: Buffer.from(text),
});
const texts = (segments: Segment[], syn?: number) => reassemble(segments, syn).runs.map((run) => run.bytes.toString());

describe('putting a TCP stream together', () => {
  it('orders segments and drops what was sent twice', () => {
    const segments = [segment(101, 'one '), segment(111, 'three'), segment(105, 'two   '), segment(103, 'e two ')];
    assert.deepEqual(texts(segments, 100), ['one two   three']);
  });

  it('goes on where sequence numbers begin again at zero', () => {
    const syn = 0xfffffffd;
    assert.deepEqual(texts([segment(syn + 1, 'ab'), segment(syn + 3, 'cd'), segment(syn + 5, 'ef')], syn), ['abcdef']);
  });

  it('splits at a gap and knows which part is the beginning', () => {
    const { runs } = reassemble([segment(11, 'begin'), segment(30, 'later')], 10);
    assert.deepEqual(
      runs.map((run) => [run.fromStart, run.bytes.toString()]),
      [
        [true, 'begin'],
        [false, 'later'],
      ],
    );
    assert.equal(reassemble([segment(11, 'begin')], undefined).runs[0]?.fromStart, false);
  });

  it('keeps a retransmission that says something else', () => {
    const honest = reassemble([segment(11, 'abcdef'), segment(13, 'cd')], 10);
    const twofaced = reassemble([segment(11, 'abcdef'), segment(13, 'CD')], 10);
    assert.equal(honest.contradictions.length, 0);
    assert.equal(twofaced.contradictions[0]?.payload.toString(), 'CD');
  });

  it('tells when a byte arrived', () => {
    const run = reassemble([segment(11, 'abc', 5), segment(14, 'def', 7)], 10).runs[0];
    assert.ok(run);
    assert.deepEqual(
      [0, 2, 3, 5].map((offset) => arrivalAt(run, offset)),
      [5, 5, 7, 7],
    );
  });

  it('gives back any bytes, however they were cut, shuffled and repeated', () => {
    const cuts = fc.array(fc.tuple(fc.nat(300), fc.integer({ min: 1, max: 80 })), { maxLength: 60 });
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 300 }), cuts, fc.nat(0xffffffff), (data, extra, syn) => {
        const bytes = Buffer.from(data);
        const at = (offset: number, size: number) => ({
          at: 0,
          sequence: (syn + 1 + offset) >>> 0,
          payload: bytes.subarray(offset, offset + size),
        });
        const repeats = extra.map(([offset, size]) => at(offset % bytes.length, size));
        const tiles = Array.from({ length: Math.ceil(bytes.length / 50) }, (_, i) => at(i * 50, 50));
        const stream = reassemble([...repeats, ...tiles.reverse()], syn);
        assert.equal(stream.contradictions.length, 0);
        assert.equal(stream.runs.length, 1);
        assert.ok(stream.runs[0]?.bytes.equals(bytes));
        assert.equal(stream.runs[0]?.fromStart, true);
      }),
    );
  });
});
