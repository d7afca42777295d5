import assert from 'node:assert/strict';
import { DerReader, derTag } from '../../../src/ca/x509/der.ts';

const reader = (hex: string) => new DerReader(Buffer.from(hex, 'hex'), 'The input', 'CsrInvalid');

describe('reading DER', () => {
  it('gives element after element, with its own bytes and its content', () => {
    const elements = reader('020105' + '040300ff00');
    assert.equal(elements.peek(), derTag.integer);
    const integer = elements.read(derTag.integer);
    assert.deepEqual([integer.raw.toString('hex'), integer.content.toString('hex')], ['020105', '05']);
    assert.equal(elements.next().content.toString('hex'), '00ff00');
    assert.ok(elements.atEnd);
    assert.equal(elements.peek(), undefined);
    elements.end();
  });

  it('reads lengths of more than one byte', () => {
    assert.equal(reader(`0481${'80'}${'00'.repeat(0x80)}`).next().content.length, 0x80);
    assert.equal(reader(`04820100${'00'.repeat(0x100)}`).next().content.length, 0x100);
  });

  for (const [what, hex, message] of [
    ['nothing', '', /end too early/],
    ['a tag without a length', '30', /end too early/],
    ['a length without its bytes', '3082', /end too early/],
    ['an element longer than what holds it', '300201', /longer than what holds it/],
    ['an element far longer than what holds it', '3084ffffffff00', /longer than what holds it/],
    ['an indefinite length', '30800000', /indefinite/],
    ['a length of five bytes', '30850000000001', /oversized/],
    ['a short length in the long form', '30817f', /more bytes than it needs/],
    ['a length with a leading zero', `30820080${'00'.repeat(0x80)}`, /more bytes than it needs/],
    ['a tag number over 30', '1f8101', /over 30/],
  ] as const) {
    it(`refuses ${what}`, () => {
      assert.throws(() => reader(hex).next(), { code: 'CsrInvalid', message });
    });
  }

  it('refuses another tag than the one expected, and bytes after the end', () => {
    assert.throws(() => reader('0500').read(derTag.sequence), { message: /tag 48 expected, found 5/ });
    assert.throws(() => reader('0500').end(), { message: /after its end/ });
  });
});
